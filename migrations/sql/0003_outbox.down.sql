DROP TABLE aside_parked, aside_outbox, aside_consumers;

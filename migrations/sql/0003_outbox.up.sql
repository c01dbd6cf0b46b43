-- What transactions changed, for caches that their writer could not tell: see docs/outbox.md.

CREATE TABLE aside_consumers (
	id           integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name         text NOT NULL,
	declares     text NOT NULL,
	indexes      text[] NOT NULL,
	since        timestamptz NOT NULL DEFAULT clock_timestamp(),
	expires_at   timestamptz NOT NULL,
	retire_since timestamptz,
	UNIQUE (name, declares)
);
COMMENT ON TABLE aside_consumers IS 'Caches that are told of changes through aside_outbox; a row there is done when each that is alive has acknowledged it';
COMMENT ON COLUMN aside_consumers.name IS 'the namespace of its keys';
COMMENT ON COLUMN aside_consumers.declares IS 'hash of indexes: versions of a program that know other indexes are other consumers';
COMMENT ON COLUMN aside_consumers.indexes IS 'what it invalidates, each with all that decides how its cache keys are spelled';
COMMENT ON COLUMN aside_consumers.since IS 'it has been alive without a break since then';
COMMENT ON COLUMN aside_consumers.expires_at IS 'rows do not wait for it any longer than that';
COMMENT ON COLUMN aside_consumers.retire_since IS 'rows were done without it: it has to end all its entries before they can be believed; NULL: it has not';

CREATE TABLE aside_outbox (
	id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	xid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
	tx      uuid,
	at      timestamptz NOT NULL DEFAULT clock_timestamp(),
	changes jsonb NOT NULL,
	acked   integer[] NOT NULL DEFAULT '{}',
	done_at timestamptz
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_insert_scale_factor = 0,
	autovacuum_vacuum_insert_threshold = 50000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000);
COMMENT ON TABLE aside_outbox IS 'One row for each 1,000 changes of a transaction, written in it; deleted about a minute after it is done';
COMMENT ON COLUMN aside_outbox.xid IS 'of the transaction; after a crash another one may have the same';
COMMENT ON COLUMN aside_outbox.tx IS 'random, of the transaction: that a row has it says that it was committed. NULL: captured by a trigger';
COMMENT ON COLUMN aside_outbox.changes IS '[{"t": table, "op": "I", "U", "D" or "T", "c": columns, "b": rows before, "a": rows after}], values as texts of the columns';
COMMENT ON COLUMN aside_outbox.acked IS 'consumers whose caches hold nothing of before these changes';
COMMENT ON COLUMN aside_outbox.done_at IS 'each consumer that was alive then has acknowledged';

-- What is open, oldest first; also how a transaction finds what triggers have captured in it (xid = its own AND done_at IS NULL).
CREATE INDEX aside_outbox_open ON aside_outbox (xid) WHERE done_at IS NULL;
-- The witness of a transaction whose COMMIT was not answered, and the writer's own acknowledgement.
CREATE INDEX aside_outbox_tx ON aside_outbox (tx) WHERE tx IS NOT NULL;
-- What is to be deleted, or to be delivered again after a failover.
CREATE INDEX aside_outbox_done ON aside_outbox (done_at) WHERE done_at IS NOT NULL;

CREATE TABLE aside_parked (
	id        bigint NOT NULL,
	consumer  integer NOT NULL REFERENCES aside_consumers ON DELETE CASCADE,
	tx        uuid,
	at        timestamptz NOT NULL,
	changes   jsonb NOT NULL,
	error     text NOT NULL,
	parked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	PRIMARY KEY (consumer, id)
);
COMMENT ON TABLE aside_parked IS 'Rows of aside_outbox that a consumer could not be told; its entries of these tables were ended instead. For people: delete them when the cause is mended';

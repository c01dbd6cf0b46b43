-- Who writes to this database through Aside, and which indexes each process invalidates: see docs/rollout.md. The names of
-- namespaces have their generation: "shop~3".

CREATE TABLE aside_namespaces (
	namespace   text PRIMARY KEY,
	serial      bigint NOT NULL DEFAULT 0,
	longest_ttl interval NOT NULL DEFAULT '0'
);
COMMENT ON TABLE aside_namespaces IS 'One row per cache namespace of the library Aside; its lock makes registrations take turns';
COMMENT ON COLUMN aside_namespaces.serial IS 'of the latest registration';
COMMENT ON COLUMN aside_namespaces.longest_ttl IS 'of any entry that a registrant may have stored: gone registrants are kept for twice that, and a day at least';

CREATE TABLE aside_registrants (
	namespace     text NOT NULL,
	process       uuid NOT NULL,
	serial        bigint NOT NULL,
	label         text NOT NULL,
	build         bigint NOT NULL,
	declares      text[] NOT NULL,
	stops_after   interval NOT NULL,
	expires_after interval NOT NULL,
	registered_at timestamptz NOT NULL,
	seen_at       timestamptz NOT NULL,
	gone_at       timestamptz,
	PRIMARY KEY (namespace, process)
);
COMMENT ON TABLE aside_registrants IS 'Processes that use the library Aside, alive or gone';
COMMENT ON COLUMN aside_registrants.serial IS 'order of registration within the namespace; a process that was taken for dead and comes back gets a new one';
COMMENT ON COLUMN aside_registrants.label IS 'host, process id and program, for people';
COMMENT ON COLUMN aside_registrants.build IS 'Config.Build';
COMMENT ON COLUMN aside_registrants.declares IS 'keys and unique indexes that the process invalidates, each with all that decides how its cache keys are spelled';
COMMENT ON COLUMN aside_registrants.stops_after IS 'the process serves its unique indexes no longer than this after it has last read this table';
COMMENT ON COLUMN aside_registrants.expires_after IS 'others take the process for dead this long after seen_at, and write it into gone_at';
COMMENT ON COLUMN aside_registrants.gone_at IS 'set by the process itself, or by whoever found it expired; the row stays, for its serial is part of entries'' epochs';

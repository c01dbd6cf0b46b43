-- What all processes that use Aside on this database must agree on, by name. Later migrations add to it.
CREATE TABLE aside_meta (
	name  text PRIMARY KEY,
	value text NOT NULL
);
COMMENT ON TABLE aside_meta IS 'Settings of the library Aside for this database; made by its package migrations';
INSERT INTO aside_meta VALUES ('installed_at', now()::text);

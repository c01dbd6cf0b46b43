CREATE TABLE countries (
	code text PRIMARY KEY,
	name text NOT NULL
);

CREATE TABLE regions (
	code    text PRIMARY KEY,
	name    text COLLATE "C" NOT NULL,
	country text NOT NULL REFERENCES countries
);
CREATE INDEX regions_country ON regions (country, name, code);

-- Names are ordered by their bytes, whatever the database's language: pages
-- then begin where the one before ended on every machine.
CREATE TABLE cities (
	id         bigint PRIMARY KEY,
	slug       text NOT NULL,
	name       text COLLATE "C" NOT NULL,
	country    text NOT NULL REFERENCES countries,
	region     text NOT NULL REFERENCES regions,
	district   text NOT NULL DEFAULT '',
	lat        double precision NOT NULL,
	lng        double precision NOT NULL,
	population bigint CHECK (population >= 0),
	version    bigint NOT NULL DEFAULT 1
);
CREATE UNIQUE INDEX cities_slug ON cities (slug);
CREATE INDEX cities_region ON cities (region, name, id);

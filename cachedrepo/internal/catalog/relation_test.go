package catalog_test

import (
	"strings"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

type thing struct {
	ID     int64  `db:"id"`
	Parent int64  `db:"parent"`
	Name   string `db:"name"`
}

func things(name, scope string) *model.Relation {
	return scoped(model.MustTable(model.Spec[thing, int64]{Name: name, Key: "id"}).Relation(), scope)
}

const columns = "(id bigint PRIMARY KEY, parent bigint NOT NULL, name text NOT NULL)"

// TestRelation has one schema a case, each in a database of its own.
func TestRelation(t *testing.T) {
	table := "CREATE TABLE things " + columns + ";"
	for name, test := range map[string]struct {
		schema string
		rel    *model.Relation
		want   string
	}{
		"clean":           {table, things("things", ""), ""},
		"with its schema": {table, things("public.things", ""), ""},
		"missing":         {"SELECT 1", things("things", ""), "refuse missing-table"},
		"in another schema": {
			"CREATE SCHEMA shop; CREATE TABLE shop.things " + columns, things("things", ""), "refuse missing-table",
		},
		"named as nobody folds": {`CREATE TABLE "Things" ` + columns, things("Things", ""), ""},
		"partitioned": {
			"CREATE TABLE things " + columns + " PARTITION BY RANGE (id); CREATE TABLE things_1 PARTITION OF things DEFAULT",
			things("things", ""), "",
		},
		"a partition": {
			"CREATE TABLE things " + columns + " PARTITION BY RANGE (id); CREATE TABLE things_1 PARTITION OF things DEFAULT",
			things("things_1", ""), "warn relkind",
		},
		"view":              {"CREATE VIEW things AS SELECT 1::bigint AS id, 2::bigint AS parent, ''::text AS name", things("things", ""), "refuse relkind"},
		"materialized view": {"CREATE MATERIALIZED VIEW things AS SELECT 1::bigint AS id, 2::bigint AS parent, ''::text AS name", things("things", ""), "refuse relkind"},
		"foreign table": {
			"CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; CREATE FOREIGN TABLE things (id bigint NOT NULL, parent bigint NOT NULL, name text NOT NULL) SERVER s",
			things("things", ""), "refuse relkind",
		},
		"inherited from": {table + "CREATE TABLE special () INHERITS (things)", things("things", ""), "refuse relkind"},
		"unlogged":       {"CREATE UNLOGGED TABLE things " + columns, things("things", ""), "warn persistence"},

		"two schemas":                 {table + "CREATE SCHEMA shop; CREATE TABLE shop.things " + columns, things("things", ""), "refuse ambiguous-name"},
		"two schemas, named":          {table + "CREATE SCHEMA shop; CREATE TABLE shop.things " + columns, things("shop.things", ""), ""},
		"a view of the name":          {table + "CREATE SCHEMA shop; CREATE VIEW shop.things AS SELECT 1", things("things", ""), "refuse ambiguous-name"},
		"an index of the name":        {table + "CREATE SCHEMA shop; CREATE TABLE shop.other (id int); CREATE INDEX things ON shop.other (id)", things("things", ""), ""},
		"a name of PostgreSQL itself": {"CREATE TABLE tables " + columns, things("tables", ""), ""},

		"cascade": {
			table + "CREATE TABLE parents (id bigint PRIMARY KEY); ALTER TABLE things ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents ON DELETE CASCADE",
			things("things", ""), "refuse cascade fk",
		},
		"cascade from itself": {
			table + "ALTER TABLE things ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES things ON DELETE CASCADE",
			things("things", ""), "refuse cascade fk",
		},
		"set null":         {table + "CREATE TABLE parents (id bigint PRIMARY KEY); ALTER TABLE things ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents ON DELETE SET NULL", things("things", ""), "refuse cascade fk"},
		"set default":      {table + "CREATE TABLE parents (id bigint PRIMARY KEY); ALTER TABLE things ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents ON DELETE SET DEFAULT", things("things", ""), "refuse cascade fk"},
		"on update":        {table + "CREATE TABLE parents (id bigint PRIMARY KEY); ALTER TABLE things ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents ON UPDATE CASCADE", things("things", ""), "refuse cascade fk"},
		"no action":        {table + "CREATE TABLE parents (id bigint PRIMARY KEY); ALTER TABLE things ADD CONSTRAINT fk FOREIGN KEY (parent) REFERENCES parents ON DELETE RESTRICT", things("things", ""), ""},
		"children cascade": {table + "CREATE TABLE kids (thing bigint REFERENCES things ON DELETE CASCADE)", things("things", ""), ""},
		"set null of a column that no record has": {
			table + "CREATE TABLE parents (id bigint PRIMARY KEY); ALTER TABLE things ADD other bigint REFERENCES parents ON DELETE SET NULL ON UPDATE CASCADE",
			things("things", ""), "",
		},
		"cascade by a column that no record has": {
			table + "CREATE TABLE parents (id bigint PRIMARY KEY); ALTER TABLE things ADD other bigint CONSTRAINT fk REFERENCES parents ON DELETE CASCADE",
			things("things", ""), "refuse cascade fk",
		},

		"before trigger that sets a column": {
			table + trigger("t", "things", "BEFORE INSERT OR UPDATE", "NEW.name := upper(NEW.name); RETURN NEW;"), things("things", ""), "",
		},
		"before trigger that suppresses": {table + trigger("t", "things", "BEFORE UPDATE", "IF NEW.name = '' THEN RETURN NULL; END IF; RETURN NEW;"), things("things", ""), "warn trigger t"},
		"before trigger that writes":     {table + trigger("t", "things", "BEFORE UPDATE", "UPDATE things SET name = 'x' WHERE id = 9; RETURN NEW;"), things("things", ""), "warn trigger t"},
		"after trigger":                  {table + trigger("t", "things", "AFTER UPDATE", "RETURN NEW;"), things("things", ""), "warn trigger t"},
		"disabled":                       {table + trigger("t", "things", "AFTER UPDATE", "RETURN NEW;") + "ALTER TABLE things DISABLE TRIGGER t", things("things", ""), ""},
		"on partitions, once": {
			"CREATE TABLE things " + columns + " PARTITION BY RANGE (id); CREATE TABLE things_1 PARTITION OF things DEFAULT;" +
				trigger("t", "things", "AFTER UPDATE", "UPDATE things SET name = 'x' WHERE id = 9; RETURN NEW;"),
			things("things", ""), "warn trigger t",
		},
		"trigger of another table": {
			table + "CREATE TABLE orders (id bigint);" + trigger("o", "orders", "AFTER INSERT", "UPDATE Things SET name = 'x'; RETURN NEW;"),
			things("things", ""), "warn trigger-other o",
		},
		"trigger of another table that reads": {
			table + "CREATE TABLE orders (id bigint);" + trigger("o", "orders", "AFTER INSERT", "PERFORM 1 FROM things; RETURN NEW;"),
			things("things", ""), "",
		},
		"trigger that names another": {
			table + "CREATE TABLE orders (id bigint);" + trigger("o", "orders", "AFTER INSERT", "UPDATE all_things SET name = 'x'; RETURN NEW;"),
			things("things", ""), "",
		},
		"rule": {table + "CREATE RULE r AS ON DELETE TO things DO INSTEAD UPDATE things SET name = 'gone' WHERE id = OLD.id", things("things", ""), "warn trigger r"},

		"row security, as a superuser": {table + "ALTER TABLE things ENABLE ROW LEVEL SECURITY; ALTER TABLE things FORCE ROW LEVEL SECURITY", things("things", ""), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := judge(t, testenv.PostgresWith(t, test.schema).Open(t), test.rel)
			if got := strings.Join(lines(v.Findings), ", "); got != test.want {
				t.Errorf("%v, want %q", v.Findings, test.want)
			}
			refused := strings.HasPrefix(test.want, "refuse") && !strings.Contains(test.want, "missing")
			if v.Rows[test.rel.Key].Refused != refused {
				t.Errorf("%+v", v.Rows[test.rel.Key])
			}
		})
	}
}

func trigger(name, table, when, body string) string {
	return "CREATE FUNCTION " + name + "_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN " + body + " END $$;" +
		"CREATE TRIGGER " + name + " " + when + " ON " + table + " FOR EACH ROW EXECUTE FUNCTION " + name + "_f();"
}

// An ordinary role, which owns nothing, is told everything; and row security counts for those it applies to.
func TestOrdinaryRole(t *testing.T) {
	pg := testenv.PostgresWith(t, "CREATE TABLE things "+columns+`;
ALTER TABLE things ENABLE ROW LEVEL SECURITY;
CREATE SCHEMA hidden; CREATE TABLE hidden.things (id int);
GRANT SELECT ON things TO pg_read_all_settings;`+trigger("t", "things", "AFTER UPDATE", "RETURN NEW;"))
	db := as(t, pg.Open(t), "pg_read_all_settings")
	got := strings.Join(lines(judge(t, db, things("things", "")).Findings), ", ")
	if want := "refuse ambiguous-name, refuse rls, warn trigger t"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	got = strings.Join(lines(judge(t, db, things("things", "parent")).Findings), ", ")
	if want := "refuse ambiguous-name, warn trigger t"; got != want {
		t.Errorf("with a scope: %s, want %s", got, want)
	}
	v := judge(t, db, things("hidden.things", ""))
	if got := strings.Join(lines(v.Findings), ", "); got != "refuse missing-column name, refuse missing-column parent, warn null id" && !strings.Contains(got, "missing-column") {
		t.Errorf("a schema that the role may not use: %s", got)
	}
}

// as makes every connection of the pool, which is one, a role's.
func as(t *testing.T, db *sqlx.DB, role string) *sqlx.DB {
	t.Helper()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec("SET ROLE " + role); err != nil {
		t.Fatal(err)
	}
	return db
}

// A temporary table in front of the real one.
func TestTemporary(t *testing.T) {
	pg := testenv.PostgresWith(t, "CREATE TABLE things "+columns)
	db := as(t, pg.Open(t), "postgres")
	if _, err := db.Exec("CREATE TEMP TABLE things " + columns); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(lines(judge(t, db, things("things", "")).Findings), ", "); got != "refuse ambiguous-name, refuse persistence" {
		t.Error(got)
	}
	if got := strings.Join(lines(judge(t, pg.Open(t), things("things", "")).Findings), ", "); got != "warn ambiguous-name" {
		t.Errorf("seen by another session: %s", got)
	}
	if got := strings.Join(lines(judge(t, db, things("public.things", "")).Findings), ", "); got != "" {
		t.Errorf("with its schema: %s", got)
	}
}

type wide struct {
	ID      int64     `db:"id"`
	Serial  int64     `db:"serial"`
	Defs    int64     `db:"defs,default"`
	Always  int64     `db:"always"`
	ReadIt  int64     `db:"readit,readonly"`
	Twice   int64     `db:"twice"`
	TwiceOK int64     `db:"twiceok,readonly"`
	Gone    string    `db:"gone"`
	Maybe   string    `db:"maybe"`
	MaybeP  *string   `db:"maybep"`
	When    string    `db:"ts"`
	Time    time.Time `db:"tm"`
	Ratio   string    `db:"ratio"`
	Doc     string    `db:"doc"`
}

func TestColumns(t *testing.T) {
	pg := testenv.PostgresWith(t, `CREATE DOMAIN filled AS text NOT NULL; CREATE TABLE wide (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	serial bigserial,
	defs bigint GENERATED BY DEFAULT AS IDENTITY,
	always bigint GENERATED ALWAYS AS IDENTITY,
	readit bigint GENERATED ALWAYS AS IDENTITY,
	twice bigint NOT NULL GENERATED ALWAYS AS (1 + 1) STORED,
	twiceok bigint NOT NULL GENERATED ALWAYS AS (1 + 1) STORED,
	maybe text,
	maybep text NOT NULL,
	ts timestamptz NOT NULL,
	tm timestamptz NOT NULL,
	ratio numeric NOT NULL,
	doc filled,
	more text)`)
	rel := model.MustTable(model.Spec[wide, int64]{Name: "wide", Key: "id"}).Relation()
	want := []string{
		"refuse generated always", "refuse missing-column gone", "refuse generated twice",
		"warn null maybe", "warn session-text ts",
	}
	v := judge(t, pg.Open(t), rel)
	if got := lines(v.Findings); strings.Join(got, ";") != strings.Join(want, ";") {
		t.Errorf("%q, want %q", got, want)
	}
	if v.Rows[rel.Key].Refused {
		t.Error("what keeps a write from working is no reason not to cache")
	}
}

// TestServer judges invented facts: there is one server here, and it is good.
func TestServer(t *testing.T) {
	for _, test := range []struct {
		f    catalog.Facts
		want string
	}{
		{catalog.Facts{Version: 150018, About: "PostgreSQL 15.18 on x86_64"}, ""},
		{catalog.Facts{Version: 110022, About: "PostgreSQL 11.22 on x86_64"}, "refuse server"},
		{catalog.Facts{Version: 130000, About: "CockroachDB CCL v23.1.11 (x86_64-pc-linux-gnu)"}, "refuse server"},
		{catalog.Facts{Version: 110002, About: "PostgreSQL 11.2-YB-2.20.0.0-b0 on x86_64"}, "refuse server"},
		{catalog.Facts{About: "PostgreSQL 8.0.2 on i686-pc-linux-gnu, Redshift 1.0"}, "refuse server"},
		{catalog.Facts{Version: 150018, Recovery: true}, "refuse recovery"},
	} {
		test.f.Settings.LockTimeout = "5s"
		if got := strings.Join(lines(catalog.JudgeServer(&test.f, nil)), ", "); got != test.want {
			t.Errorf("%s: %s, want %s", test.f.About, got, test.want)
		}
	}
	f := catalog.Facts{Version: 150018, Recovery: true}
	f.Settings.LockTimeout, f.Settings.Isolation = "0", "serializable"
	if got := strings.Join(lines(catalog.JudgeServer(&f, finding.Allow{"recovery"})), ", "); got != "warn recovery, note isolation default_transaction_isolation, note lock-timeout lock_timeout" {
		t.Error(got)
	}
}

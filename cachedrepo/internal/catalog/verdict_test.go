package catalog_test

import (
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

// spec declares a table with one column beside its key, by which it is found.
func spec[V any](s model.Spec[one[V], int64], unique bool) *model.Relation {
	if unique {
		s.Indexes = model.Indexes[one[V]]{model.NewUnique[one[V], V]("v")}
	} else {
		s.Indexes = model.Indexes[one[V]]{model.NewIndex[one[V], V]("v")}
	}
	s.Key = "id"
	return model.MustTable(s).Relation()
}

type one[V any] struct {
	ID int64 `db:"id"`
	V  V     `db:"v"`
}

// lines prints findings as "severity code object".
func lines(l finding.List) []string {
	l = slices.Clone(l)
	l.Sort()
	out := make([]string, 0, len(l))
	for _, f := range l {
		out = append(out, strings.TrimSpace(f.Severity.String()+" "+f.Code+" "+f.Object))
	}
	return out
}

func judge(t *testing.T, db catalog.Querier, rel *model.Relation, allow ...string) catalog.Verdict {
	t.Helper()
	f, err := catalog.Read(t.Context(), db, []string{rel.Name})
	if err != nil {
		t.Fatal(err)
	}
	v := catalog.Judge(f, rel, allow)
	for _, f := range v.Findings {
		if f.Text == "" || f.Advice == "" || strings.Contains(f.Text+f.Advice, "%!") {
			t.Errorf("%+v", f)
		}
		if !slices.ContainsFunc(finding.Codes, func(c finding.Code) bool { return c.Name == f.Code && c.Severity >= f.Severity }) {
			t.Errorf("%s is not among finding.Codes with severity %s", f.Code, f.Severity)
		}
	}
	return v
}

// opaque does not show what its values become.
type opaque struct{ s string }

func (o opaque) Value() (driver.Value, error) {
	if o.s == "" {
		return nil, errors.New("empty")
	}
	return o.s, nil
}

func (o *opaque) Scan(any) error { return nil }

func fold(s string) string { return strings.ToLower(s) }

// TestEquality is the list of types whose bytes are equal exactly if SQL calls them equal, and of those that need more.
func TestEquality(t *testing.T) {
	pg := testenv.PostgresWith(t, `
CREATE EXTENSION citext;
CREATE COLLATION folded (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE DOMAIN short AS varchar(20);
CREATE DOMAIN address AS citext;
CREATE DOMAIN mail AS address CHECK (VALUE <> '');
CREATE DOMAIN counted AS integer;
CREATE TYPE mood AS ENUM ('ok', 'sad');
CREATE TYPE pair AS (a int, b int);`)
	db := pg.Open(t)
	canonical := map[string]func(string) string{"v": fold}
	text := func(c map[string]func(string) string) func(unique bool) *model.Relation {
		return func(unique bool) *model.Relation {
			return spec(model.Spec[one[string], int64]{Name: "t", Canonical: c}, unique)
		}
	}
	type what struct{ rows, absence, other bool } // what is cached: rows, "not found", "not found" of A-B
	all, none, spelled := what{true, true, true}, what{}, what{true, true, false}
	for _, test := range []struct {
		column string
		rel    func(unique bool) *model.Relation
		code   string
		want   what
	}{
		{"text", text(nil), "", all},
		{"varchar(30)", text(nil), "", all},
		{"short", text(nil), "", all},
		{`text COLLATE "C"`, text(nil), "", all},
		{"mood", text(nil), "", all},
		{"bigint", of[int64](nil), "", all},
		{"smallint", of[int32](nil), "", all},
		{"counted", of[int](nil), "", all},
		{"boolean", of[bool](nil), "", all},
		{"bytea", of[[]byte](nil), "", all},
		{"uuid", of[uuid.UUID](nil), "", spelled},
		{"uuid", text(nil), "", spelled},

		{"citext", text(nil), finding.KeyEquality, none},
		{"mail", text(nil), finding.KeyEquality, none},
		{"char(5)", text(nil), finding.KeyEquality, none},
		{`"char"`, text(nil), finding.KeyEquality, none},
		{"name", text(nil), finding.KeyEquality, none},
		{"text COLLATE folded", text(nil), finding.KeyEquality, none},
		{"bigint", text(nil), finding.KeyEquality, none},
		{"bytea", text(nil), finding.KeyEquality, none},
		{"text", of[int64](nil), finding.KeyEquality, none},
		{"numeric(10,2)", text(nil), finding.KeyEquality, none},
		{"numeric", of[int64](nil), finding.KeyEquality, none},
		{"double precision", text(nil), finding.KeyEquality, none},
		{"date", text(nil), finding.KeyEquality, none},
		{"timestamptz", text(nil), finding.KeyEquality, none},
		{"timestamp", text(nil), finding.KeyEquality, none},
		{"interval", text(nil), finding.KeyEquality, none},
		{"inet", text(nil), finding.KeyEquality, none},
		{"jsonb", text(nil), finding.KeyEquality, none},
		{"money", text(nil), finding.KeyEquality, none},
		{"text[]", text(nil), finding.KeyEquality, none},
		{"pair", text(nil), finding.KeyEquality, none},
		{"text", of[opaque](nil), finding.KeyEquality, none},

		{"citext", text(canonical), "", all},
		{"mail", text(canonical), "", all},
		{"char(5)", text(canonical), "", all},
		{"text COLLATE folded", text(canonical), "", all},
		{"numeric(10,2)", text(canonical), "", all},
		{"uuid", text(canonical), "", all},
		{"text", text(canonical), finding.CanonicalKey, none},
		{"short", text(canonical), finding.CanonicalKey, none},
		{"mood", text(canonical), finding.CanonicalKey, none},
	} {
		if _, err := db.Exec("DROP TABLE IF EXISTS t; CREATE TABLE t (id bigint PRIMARY KEY, v " + test.column + " NOT NULL UNIQUE)"); err != nil {
			t.Fatalf("%s: %v", test.column, err)
		}
		for _, unique := range []bool{true, false} {
			rel := test.rel(unique)
			v := judge(t, db, rel)
			var codes []string
			severity := finding.Refuse
			if !unique {
				severity = finding.Warn
			}
			for _, f := range v.Findings {
				if f.Code == finding.SessionText {
					continue
				}
				codes = append(codes, f.Code)
				if f.Severity != severity || f.Object != "v" || f.Table != "t" {
					t.Errorf("%s: %v", test.column, f)
				}
			}
			if strings.Join(codes, ",") != test.code {
				t.Errorf("%s in a %s, unique %t: %v, want %q", test.column, rel.Columns[1].Type, unique, v.Findings, test.code)
			}
			if !unique {
				continue
			}
			rows := v.Rows[rel.Indexes[0]]
			got := what{
				!rows.Refused,
				rows.Absence.Holds([]model.Datum{{Kind: model.Text, Text: "6ba7b810-9dad-11d1-80b4-00c04fd430c8"}}),
				rows.Absence.Holds([]model.Datum{{Kind: model.Text, Text: "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"}}),
			}
			if got != test.want {
				t.Errorf("%s in a %s: cached %+v, want %+v", test.column, rel.Columns[1].Type, got, test.want)
			}
			if key := v.Rows[rel.Key]; key.Refused || !key.Absence.Allowed {
				t.Errorf("%s: the key has nothing to do with it: %+v", test.column, key)
			}
		}
		// What is allowed by name is cached, but for "not found": nobody would end it.
		if test.code != "" {
			rel := test.rel(true)
			v := judge(t, db, rel, test.code+":t")
			rows := v.Rows[rel.Indexes[0]]
			if v.Findings.Refused() || rows.Refused || test.code == finding.KeyEquality && rows.Absence.Allowed {
				t.Errorf("%s, allowed: %v %+v", test.column, v.Findings, rows)
			}
		}
	}
}

func of[V any](c map[string]func(string) string) func(unique bool) *model.Relation {
	return func(unique bool) *model.Relation {
		return spec(model.Spec[one[V], int64]{Name: "t", Canonical: c}, unique)
	}
}

type person struct {
	ID    int64  `db:"id"`
	Org   int64  `db:"org"`
	Email string `db:"email"`
}

type orgEmail struct {
	Org   int64  `db:"org"`
	Email string `db:"email"`
}

func people(filter, scope string, x interface {
	Access() *model.Access
},
) *model.Relation {
	s := model.Spec[person, int64]{Name: "people", Key: "id", Filter: filter}
	switch x := x.(type) {
	case *model.Unique[person, string]:
		s.Indexes = model.Indexes[person]{x}
	case *model.Unique[person, orgEmail]:
		s.Indexes = model.Indexes[person]{x}
	case *model.Index[person, string]:
		s.Indexes = model.Indexes[person]{x}
	}
	return scoped(model.MustTable(s).Relation(), scope)
}

// scoped is what Spec.Scope does for the catalog.
func scoped(rel *model.Relation, scope string) *model.Relation {
	rel.Scope = slices.IndexFunc(rel.Columns, func(c model.Column) bool { return c.Name == scope })
	return rel
}

// TestUnique compares declared indexes with those of the table.
func TestUnique(t *testing.T) {
	pg := testenv.PostgresWith(t, `CREATE COLLATION nobody (provider = icu, locale = 'und');
CREATE TYPE mood AS ENUM ('ok', 'sad');`)
	db := pg.Open(t)
	byEmail := func() *model.Unique[person, string] { return model.NewUnique[person, string]("email") }
	byBoth := func() *model.Unique[person, orgEmail] { return model.NewUnique[person, orgEmail]() }
	plain := func() *model.Index[person, string] { return model.NewIndex[person, string]("email") }
	const refused = "refuse not-unique email"
	for _, test := range []struct {
		index string
		rel   *model.Relation
		want  string
	}{
		{"CREATE UNIQUE INDEX x ON people (email)", people("", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) INCLUDE (org)", people("", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email DESC NULLS LAST)", people("", "", byEmail()), ""},
		{"ALTER TABLE people ADD CONSTRAINT x UNIQUE (email)", people("", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email, org)", people("", "", byBoth()), ""},
		{"CREATE UNIQUE INDEX x ON people (org, email)", people("", "", byBoth()), ""},
		{"CREATE UNIQUE INDEX x ON people (email)", people("", "", byBoth()), ""}, // more columns, all the more unique
		{"CREATE UNIQUE INDEX x ON people (email) WHERE email IS NOT NULL", people("", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) NULLS NOT DISTINCT", people("", "", byEmail()), ""},

		{"SELECT 1", people("", "", byEmail()), refused},
		{"CREATE INDEX x ON people (email)", people("", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (org, email)", people("", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (lower(email))", people("", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE deleted_at IS NULL", people("", "", byEmail()), refused},
		{"ALTER TABLE people ADD CONSTRAINT x UNIQUE (email) DEFERRABLE", people("", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'x'::regclass", people("", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email); UPDATE pg_index SET indisready = false WHERE indexrelid = 'x'::regclass", people("", "", byEmail()), refused},
		{"ALTER TABLE people DROP CONSTRAINT people_pkey", people("", "", nil), "refuse not-unique id"},

		{"CREATE UNIQUE INDEX x ON people (email) WHERE deleted_at IS NULL", people("deleted_at IS NULL", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE deleted_at IS NULL", people("(Deleted_At  is null) AND org > 0", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE deleted_at IS NULL AND status = 'a B'", people("status='a B' and deleted_at IS NULL", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE status = 'a'", people("status = 'A'", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE deleted_at IS NULL AND org = 1", people("deleted_at IS NULL", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE deleted_at IS NULL", people("deleted_at IS NULL OR org = 1", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE deleted_at IS NULL", people("NOT (deleted_at IS NULL AND org = 1)", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE org BETWEEN 1 AND 5", people("org BETWEEN 1 AND 5", "", byEmail()), refused}, // the text says what to write
		{"CREATE UNIQUE INDEX x ON people (email) WHERE org BETWEEN 1 AND 5", people("org >= 1 AND org<=5", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE org <> 3 AND feels = 'ok'", people("feels = 'ok' AND org != 3", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE status IN ('a', 'b')", people("status in ('a','b')", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE org IN (1, 2) AND gone = false", people("org IN (1,2) AND gone = false", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE NOT gone", people("not gone", "", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE NOT gone", people("gone", "", byEmail()), refused},
		{"CREATE UNIQUE INDEX x ON people (email) WHERE coalesce(status, '') = 'x' OR gone", people("coalesce(status, '') = 'x' OR gone", "", byEmail()), ""},

		{"CREATE UNIQUE INDEX x ON people (org, email)", people("", "org", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (email)", people("", "org", byEmail()), ""},
		{"CREATE UNIQUE INDEX x ON people (org)", people("", "org", byEmail()), refused},

		{"CREATE INDEX x ON people (email, org)", people("", "", plain()), ""},
		{"CREATE UNIQUE INDEX x ON people (email)", people("", "", plain()), ""},
		{"CREATE INDEX x ON people (org, email)", people("", "org", plain()), ""},
		{"CREATE INDEX x ON people (org, email)", people("", "", plain()), "note no-index email"},
		{"CREATE INDEX x ON people (email) WHERE gone", people("", "", plain()), "note no-index email"},
		{"SELECT 1", people("", "", plain()), "note no-index email"},
	} {
		if _, err := db.Exec(`DROP TABLE IF EXISTS people; CREATE TABLE people (id bigint CONSTRAINT people_pkey PRIMARY KEY,
			org bigint NOT NULL, email text NOT NULL, status varchar(10), feels mood, gone boolean NOT NULL DEFAULT false, deleted_at timestamptz);` + test.index); err != nil {
			t.Fatalf("%s: %v", test.index, err)
		}
		v := judge(t, db, test.rel)
		if got := strings.Join(lines(v.Findings), ", "); got != test.want {
			t.Errorf("%s\n\tfilter %q, scope %d, index %v: %v, want %q", test.index, test.rel.Filter, test.rel.Scope, test.rel.Indexes, v.Findings, test.want)
		}
		for a, rows := range v.Rows {
			if rows.Refused != (test.want == "refuse not-unique "+a.Name) {
				t.Errorf("%s: %s: %+v", test.index, a.Name, rows)
			}
		}
	}
}

// The scope is the first part of each value, and judged with it.
func TestScopeColumn(t *testing.T) {
	pg := testenv.PostgresWith(t, `CREATE EXTENSION citext;
CREATE TABLE people (id bigint PRIMARY KEY, org citext NOT NULL, email uuid NOT NULL UNIQUE);
CREATE TABLE others (id bigint PRIMARY KEY, org uuid NOT NULL, email text NOT NULL UNIQUE)`)
	type row struct {
		ID    int64  `db:"id"`
		Org   string `db:"org"`
		Email string `db:"email"`
	}
	table := func(name string) *model.Relation {
		return scoped(model.MustTable(model.Spec[row, int64]{
			Name: name, Key: "id", Indexes: model.Indexes[row]{model.NewUnique[row, string]("email")},
		}).Relation(), "org")
	}
	db := pg.Open(t)
	rel := table("people")
	v := judge(t, db, rel)
	if got := lines(v.Findings); !slices.Equal(got, []string{"refuse key-equality org"}) || !v.Rows[rel.Key].Refused || !v.Rows[rel.Indexes[0]].Refused {
		t.Errorf("%v %+v", v.Findings, v.Rows)
	}
	rel = table("others")
	v = judge(t, db, rel)
	const id = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
	for _, a := range rel.Accesses() {
		for scope, want := range map[string]bool{id: true, strings.ToUpper(id): false} {
			value := []model.Datum{{Kind: model.Text, Text: scope}, {Kind: model.Text, Text: "x"}}
			if got := v.Rows[a].Absence.Holds(value); got != want {
				t.Errorf("%s, scope %s: %t", a.Name, scope, got)
			}
		}
	}
}

// Package catalog reads what PostgreSQL knows of the tables that are cached, and judges by it what may be cached: which
// values are equal in SQL exactly if their bytes are, which indexes are as unique as declared, and who else changes the
// rows. Reading and judging are apart: the judgement is a pure function of the facts.
package catalog

import (
	"context"
	"database/sql"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Querier is a database, as *sql.DB, *sqlx.DB and *txhooks.DB are.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Facts are what one reading of the catalog says.
type Facts struct {
	Version  int    `json:"version"` // server_version_num: 150018
	About    string `json:"about"`   // version()
	Recovery bool   `json:"recovery"`
	Database string `json:"database"`
	Role     string `json:"role"`
	Settings struct {
		LockTimeout string `json:"lock_timeout"`
		Isolation   string `json:"isolation"`
	} `json:"settings"`
	Tables []Table `json:"tables"`
}

// Table is what the name of a table leads to.
type Table struct {
	Name        string     `json:"name"`   // as asked for
	Schema      string     `json:"schema"` // empty: the name leads nowhere
	Relation    string     `json:"relation"`
	Kind        string     `json:"kind"`        // pg_class.relkind
	Persistence string     `json:"persistence"` // pg_class.relpersistence
	RowSecurity bool       `json:"row_security"`
	Active      bool       `json:"active"` // row security applies to the role that asked
	Children    []string   `json:"children"`
	Parents     []string   `json:"parents"`
	Namesakes   []Namesake `json:"namesakes"`
	Columns     []Column   `json:"columns"`
	Indexes     []Index    `json:"indexes"`
	Triggers    []Trigger  `json:"triggers"`
	Others      []Trigger  `json:"others"` // on other tables, whose functions name this one
	Actions     []Action   `json:"actions"`
	Rules       []string   `json:"rules"`
	Captures    []Captures `json:"captures"` // the table's own, then those of its partitions
}

// Namesake is a relation of the same name in another schema.
type Namesake struct {
	Schema string `json:"schema"`
	Temp   bool   `json:"temp"`
}

// Column is a column. Its base type is what is left of it when domains are taken away.
type Column struct {
	Name       string `json:"name"`
	Type       string `json:"type"` // as SQL writes it
	Base       string `json:"base"` // pg_type.typname
	BaseSchema string `json:"base_schema"`
	Kind       string `json:"kind"` // pg_type.typtype of the base: b, e, c, r, m
	NotNull    bool   `json:"not_null"`
	Identity   string `json:"identity"`  // a: ALWAYS, d: BY DEFAULT
	Generated  string `json:"generated"` // s: stored, v: virtual
	Collation  string `json:"collation"`
	Folds      bool   `json:"folds"` // the collation is not deterministic
}

// Index is an index.
type Index struct {
	Name        string    `json:"name"`
	Unique      bool      `json:"unique"`
	Valid       bool      `json:"valid"`
	Ready       bool      `json:"ready"`
	Immediate   bool      `json:"immediate"`
	Expressions bool      `json:"expressions"`
	Predicate   string    `json:"predicate"`
	Columns     []*string `json:"columns"` // nil: an expression
}

// Trigger is a trigger that a user made and that fires.
type Trigger struct {
	Name     string `json:"name"`
	Table    string `json:"table"`
	Type     int    `json:"type"` // pg_trigger.tgtype
	Function string `json:"function"`
	Writes   bool   `json:"writes"` // the function's text has a word such as INSERT
	Nulls    bool   `json:"nulls"`  // the function's text has RETURN NULL
}

// Captures are the triggers by which the library captures what is written to a table or a partition.
type Captures struct {
	Table    string `json:"table"`
	Triggers []struct {
		Name      string `json:"name"`
		Enabled   string `json:"enabled"`   // pg_trigger.tgenabled
		Arguments string `json:"arguments"` // in hexadecimal, a zero byte behind each: version, table, columns
	} `json:"triggers"`
}

// Action is what a foreign key of the table does to its rows when the row that it refers to changes.
type Action struct {
	Name       string   `json:"name"`
	References string   `json:"references"`
	Delete     string   `json:"delete"` // pg_constraint.confdeltype
	Update     string   `json:"update"`
	Columns    []string `json:"columns"`
}

// query brings everything in one row of one column: one snapshot, one round trip, the same under every driver. What came
// after PostgreSQL 12, or differs between versions, is read by way of to_jsonb, which knows no column that is not there.
//
//go:embed facts.sql
var query string

// ErrNonsense is the error of Read for a database whose answer is none that PostgreSQL would give, such as a mock.
var ErrNonsense = errors.New("the database's answer makes no sense")

// Read asks for the facts about tables, by names as in model.Spec.Name, in one statement that only reads. Any role may.
func Read(ctx context.Context, db Querier, names []string) (*Facts, error) {
	type asked struct {
		Name     string  `json:"name"`
		Schema   *string `json:"schema"`
		Relation string  `json:"relation"`
	}
	all := make([]asked, len(names))
	for i, name := range names {
		all[i] = asked{Name: name, Relation: name}
		if schema, rel, ok := strings.Cut(name, "."); ok {
			all[i].Schema, all[i].Relation = &schema, rel
		}
	}
	arg, err := json.Marshal(all)
	if err != nil {
		return nil, err
	}
	text, err := one(ctx, db, query, string(arg))
	if err != nil {
		// Relatives of PostgreSQL may not have all of its catalog. Which one it is they do tell.
		about, other := one(ctx, db, "SELECT version()")
		if f := (&Facts{About: about}); other == nil && f.foreign() != "" {
			return f, nil
		}
		return nil, err
	}
	f := new(Facts)
	if err := json.Unmarshal([]byte(text), f); err != nil || f.Version == 0 || len(f.Tables) != len(names) {
		return nil, ErrNonsense
	}
	return f, nil
}

func one(ctx context.Context, db Querier, query string, args ...any) (text string, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	if !rows.Next() {
		return "", errors.Join(rows.Err(), ErrNonsense)
	}
	if err := rows.Scan(&text); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNonsense, err)
	}
	for rows.Next() { //nolint:revive // to the end, for errors that come late
	}
	return text, rows.Err()
}

// Table returns what is known of a table.
func (f *Facts) Table(name string) *Table {
	for i := range f.Tables {
		if f.Tables[i].Name == name {
			return &f.Tables[i]
		}
	}
	return nil
}

// foreign names a database that speaks PostgreSQL's language and is none.
func (f *Facts) foreign() string {
	for _, name := range []string{"CockroachDB", "Yugabyte", "-YB-", "Redshift", "Greenplum", "Materialize", "CrateDB", "QuestDB", "DuckDB"} {
		if strings.Contains(f.About, name) {
			return strings.Replace(name, "-YB-", "YugabyteDB", 1)
		}
	}
	return ""
}

func (t *Table) column(name string) *Column {
	for i := range t.Columns {
		if t.Columns[i].Name == name {
			return &t.Columns[i]
		}
	}
	return nil
}

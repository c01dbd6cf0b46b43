package repo

import (
	"slices"
	"strconv"
	"strings"

	"github.com/asidego/aside/model"
)

// text has the parts of statements that are the same in all of them.
type text struct {
	rel     *model.Relation
	table   string // quoted
	alias   string // the table's name without its schema, quoted
	columns string // all of them
	images  string // those of an image
	old     string // those of an image, renamed: aside_old_0, aside_old_1, ...
	select1 string // SELECT columns FROM table
	filter  string // " AND (filter)"; empty: none
	all     []int  // positions of columns
}

// oldPrefix begins the names of an image's columns in the subselect that locks rows before an UPDATE. Names of their
// own leave the table's names to expressions of the user: "v = v + 1" would else be ambiguous.
const oldPrefix = "aside_old_"

func textOf(rel *model.Relation) text {
	t := text{rel: rel, all: rel.AllColumns()}
	parts := strings.Split(rel.Name, ".")
	t.alias = quote(parts[len(parts)-1])
	for i, p := range parts {
		parts[i] = quote(p)
	}
	t.table = strings.Join(parts, ".")
	t.columns, t.images = t.list(t.all), t.list(rel.Images)
	old := make([]string, len(rel.Images))
	for i := range rel.Images {
		old[i] = oldPrefix + strconv.Itoa(i)
	}
	t.old = strings.Join(old, ", ")
	t.select1 = "SELECT " + t.columns + " FROM " + t.table
	if rel.Filter != "" {
		t.filter = " AND (" + rel.Filter + ")"
	}
	return t
}

func quote(name string) string {
	return `"` + strings.ReplaceAll(name, `"`, `""`) + `"`
}

func (t *text) column(i int) string { return quote(t.rel.Columns[i].Name) }

func (t *text) list(columns []int) string {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = t.column(c)
	}
	return strings.Join(names, ", ")
}

// lock selects what an image needs, renamed, from the rows that satisfy a condition, and locks them.
//
// FOR NO KEY UPDATE, not FOR UPDATE: that would make inserts of rows with a foreign key to these wait. The UPDATE that
// follows takes the stronger lock by itself where it changes a key.
func (t *text) lock(where string) string {
	renamed := make([]string, len(t.rel.Images))
	for i, c := range t.rel.Images {
		renamed[i] = t.column(c) + " AS " + oldPrefix + strconv.Itoa(i)
	}
	return "SELECT " + strings.Join(renamed, ", ") + " FROM " + t.table + " WHERE " + where + " FOR NO KEY UPDATE"
}

// joinOld compares the key, and the scope, with those of the row which lock returned.
func (t *text) joinOld() string {
	var conditions []string
	for i, c := range t.rel.Images {
		if c == t.rel.Scope || slices.Contains(t.rel.Key.Columns, c) {
			conditions = append(conditions, t.column(c)+" = "+oldPrefix+strconv.Itoa(i))
		}
	}
	return strings.Join(conditions, " AND ")
}

// args numbers the arguments of a statement.
type args []any

// add returns the placeholder of a new argument.
func (a *args) add(v any) string {
	*a = append(*a, v)
	return "$" + strconv.Itoa(len(*a))
}

// at is the condition that the columns of an index have these values.
func (t *text) at(a *args, access *model.Access, data []model.Datum) string {
	conditions := make([]string, len(data))
	for i, c := range access.Columns {
		conditions[i] = t.column(c) + " = " + a.add(data[i].Arg())
	}
	return strings.Join(conditions, " AND ")
}

package catalog

import (
	"database/sql/driver"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/model"
)

// equality is how SQL's equality of a column and that of the bytes of its Go values relate.
type equality uint8

const (
	exact equality = iota // the same
	uuids                 // the same for texts spelled as PostgreSQL does
	wider                 // SQL calls values equal whose bytes differ, or nobody knows
)

// compare judges a column and the field that holds it. why is the reason for wider, fix what to do about it.
func compare(c *Column, field *model.Column) (e equality, why, fix string) {
	kind, known := kindOf(plain(field.Type))
	if c.Kind == "e" {
		if kind == model.Text || !known {
			return exact, "", ""
		}
		return wider, "an enum in a field that is no text", "use a string"
	}
	builtin := c.BaseSchema == "pg_catalog"
	text := builtin && (c.Base == "text" || c.Base == "varchar")
	switch {
	case text && c.Folds:
		return wider, fmt.Sprintf("collation %s is not deterministic: it calls different texts equal", c.Collation),
			"give Spec.Canonical the one spelling of those that are equal, or use a deterministic collation"
	case !known:
		return wider, fmt.Sprintf("%s does not show what its values become", field.Type), "let the zero value's Value return what it holds"
	case text && kind == model.Text,
		builtin && kind == model.Int && slices.Contains([]string{"int2", "int4", "int8"}, c.Base),
		builtin && kind == model.Bool && c.Base == "bool",
		builtin && kind == model.Bytes && c.Base == "bytea":
		return exact, "", ""
	case builtin && c.Base == "uuid" && kind == model.Text:
		return uuids, "", ""
	case builtin && c.Base == "bpchar":
		return wider, "trailing blanks count for the bytes and not for SQL",
			`give Spec.Canonical a func that cuts them off, strings.TrimRight(s, " "), or make the column a text`
	case c.Base == "citext":
		return wider, "SQL calls texts equal that differ in case", "give Spec.Canonical strings.ToLower, or make the column a text"
	case text, builtin && slices.Contains([]string{"int2", "int4", "int8", "bool", "bytea"}, c.Base):
		return wider, fmt.Sprintf("the field is a %s: what it holds has several spellings in SQL", field.Type), "use a field of the column's own kind"
	}
	return wider, "equal values of this type have several spellings", "use a column of integers, text, uuid, bytea or an enum, or give Spec.Canonical the one spelling"
}

// accesses judges the columns of the key and of the indexes.
func (j *judge) accesses() {
	for _, a := range j.rel.Accesses() {
		columns := a.Columns
		if j.rel.Scope >= 0 {
			columns = append([]int{j.rel.Scope}, columns...)
		}
		absence, complete := Absence{Allowed: true}, true
		for i, at := range columns {
			field := &j.rel.Columns[at]
			c := j.table.column(field.Name)
			if c == nil {
				absence.Allowed, complete = false, false
				continue
			}
			e, why, fix := compare(c, field)
			switch {
			case e == exact && field.Canonical != nil:
				j.add(finding.CanonicalKey, j.cached(a), field.Name, "drop it from Spec.Canonical",
					fmt.Sprintf("the column is %s, whose values are equal in SQL only if they are the same: by Canonical two rows would share a cache key", c.described()), a)
			case field.Canonical != nil:
			case e == uuids:
				absence.UUIDs = append(absence.UUIDs, i)
			case e == wider:
				absence.Allowed = false
				j.add(finding.KeyEquality, j.cached(a), field.Name, fix, fmt.Sprintf("the column is %s: %s", c.described(), why), a)
			}
		}
		if rows := j.rows[a]; !rows.Refused {
			rows.Absence = absence
			j.rows[a] = rows
		}
		if complete && (j.table.Kind == "r" || j.table.Kind == "p") {
			j.indexes(a)
		}
	}
}

// cached is the severity of what makes wrong keys: rows are cached by unique values only.
func (j *judge) cached(a *model.Access) finding.Severity {
	if a.Unique {
		return finding.Refuse
	}
	return finding.Warn
}

func (c *Column) described() string {
	if c.BaseSchema == "pg_catalog" && c.Folds {
		return c.Type + " COLLATE " + c.Collation
	}
	if !strings.HasPrefix(c.Type, c.Base) && c.BaseSchema != "pg_catalog" {
		return c.Type + " (" + c.Base + ")"
	}
	return c.Type
}

// plain is the type that a column holds when it is not NULL.
func plain(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() == "database/sql" && strings.HasPrefix(t.Name(), "Null") {
		return t.Field(0).Type
	}
	return t
}

// kindOf is what values of a type become. A type that converts itself is asked for its zero value.
func kindOf(t reflect.Type) (kind model.DatumKind, known bool) {
	zero := reflect.Zero(t)
	if t.Kind() == reflect.Slice && !t.Implements(reflect.TypeFor[driver.Valuer]()) {
		zero = reflect.MakeSlice(t, 0, 0)
	}
	defer func() {
		if recover() != nil { // a Value method that expects more than zero
			kind, known = model.Null, false
		}
	}()
	d, err := model.DatumOf(zero.Interface())
	if err != nil || d.Kind == model.Null {
		return model.Null, false
	}
	return d.Kind, true
}

// Holds tells whether "not found" may be stored for a value: the scope, if the table has one, and the columns.
func (a Absence) Holds(value []model.Datum) bool {
	return a.Allowed && !slices.ContainsFunc(a.UUIDs, func(i int) bool { return !canonicalUUID(value[i].Text) })
}

// Unknown tells whether "not found" may be stored while the catalog is not known: integers and booleans have one spelling
// in every type of column that could hold them.
func Unknown(data []model.Datum) bool {
	return !slices.ContainsFunc(data, func(d model.Datum) bool { return d.Kind != model.Int && d.Kind != model.Bool })
}

func canonicalUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case c < '0' || c > 'f' || c > '9' && c < 'a':
			return false
		}
	}
	return true
}

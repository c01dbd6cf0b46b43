package model

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Ref names rows that a query depends on or a statement changes: a One or a Many of any table, or Table.All.
type Ref interface {
	Place() Place
	ref()
}

// Refs is a list of Ref.
type Refs []Ref

// One refers to at most one row.
type One[T any] struct {
	access *Access
	value  any
}

// Many refers to any number of rows.
type Many[T any] struct {
	access *Access
	value  any
}

type all struct{ rel *Relation }

func (One[T]) ref()  {}
func (Many[T]) ref() {}
func (all) ref()     {}

// Place returns where the row is.
func (o One[T]) Place() Place { return placeOf(o.access, o.value) }

// Place returns where the rows are.
func (m Many[T]) Place() Place { return placeOf(m.access, m.value) }

// Place returns the table.
func (a all) Place() Place { return Place{Relation: a.rel} }

// Place is a Ref as code sees it that does not know the table's types.
type Place struct {
	Relation *Relation // nil: the ref is of an index that no table lists, see Check
	Access   *Access   // nil: every row of Relation
	Value    any       // of the type that Access was declared with
}

func placeOf(a *Access, value any) Place {
	if a == nil {
		return Place{}
	}
	return Place{a.rel, a, value}
}

// Check returns an error for a zero Ref and for an index that no table lists.
func (p Place) Check() error {
	switch {
	case p.Relation != nil:
		return nil
	case p.Access != nil:
		return fmt.Errorf("model: index %s belongs to no table: list it in a Spec", p.Access.Name)
	}
	return fmt.Errorf("model: an empty reference names no rows")
}

// Data appends the value's columns in canonical form, in the order of Access.Columns. It fails for a value that no
// column could hold, such as an unsigned integer over the range of bigint.
func (p Place) Data(buf []Datum) ([]Datum, error) {
	if p.Access == nil {
		return buf, nil
	}
	return p.Access.data(buf, p.Value)
}

// String prints the value, shortened to 64 bytes, composite values as "(7,42)", sensitive ones as "***".
func (p Place) String() string {
	data, err := p.Data(nil)
	switch {
	case err == nil && p.Access != nil:
		return p.Access.Print(data)
	case p.Access != nil && p.Access.Sensitive:
		return hidden
	}
	return shorten(fmt.Sprint(p.Value))
}

const hidden = "***"

// Print is Place.String of a value in canonical form.
func (a *Access) Print(data []Datum) string {
	parts := make([]string, len(data))
	for i, d := range data {
		parts[i] = d.String()
		if i < len(a.Columns) && a.rel != nil && a.rel.Columns[a.Columns[i]].Sensitive {
			parts[i] = hidden
		}
	}
	if len(parts) == 1 {
		return shorten(parts[0])
	}
	return shorten("(" + strings.Join(parts, ",") + ")")
}

func shorten(s string) string {
	const limit = 64
	if len(s) > limit {
		s = s[:limit-3]
		for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
			s = s[:len(s)-1]
		}
		if r, n := utf8.DecodeLastRuneInString(s); r == utf8.RuneError && n == 1 {
			s = s[:len(s)-1]
		}
		s += "..."
	}
	return strings.ToValidUTF8(s, "?")
}

package catalog

import (
	"database/sql"
	"fmt"
	"reflect"
	"slices"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/model"
)

type modelColumn = model.Column

// columns compares the record with the table, column by column.
func (j *judge) columns() {
	for i := range j.rel.Columns {
		field := &j.rel.Columns[i]
		c := j.table.column(field.Name)
		if c == nil {
			j.add(finding.MissingColumn, finding.Refuse, field.Name, `apply the migrations, or mark the field db:"-"`,
				fmt.Sprintf("%s has the column and the table does not: every read fails", j.rel.Record.Name()))
			continue
		}
		j.written(i, c)
		known := j.table.Kind == "r" || j.table.Kind == "p" // of views PostgreSQL does not know
		if known && !c.NotNull && !field.Nullable && !scansItself(field.Type) && !slices.Contains(j.rel.Key.Columns, i) {
			j.add(finding.NullColumn, finding.Warn, field.Name, fmt.Sprintf("make the field a *%s, or the column NOT NULL", field.Type),
				fmt.Sprintf("the column may be NULL and the field is a %s: reading such a row fails", field.Type))
		}
		if why := session(c, field); why != "" {
			j.add(finding.SessionText, finding.Warn, field.Name, "use a field of a type that shows the value, or convert the column",
				fmt.Sprintf("the column is %s and the field a text: how it is spelled depends on the session's %s, and is cached for all", c.Type, why))
		}
	}
}

// written finds columns that PostgreSQL does not let a statement write.
func (j *judge) written(i int, c *Column) {
	field := &j.rel.Columns[i]
	switch {
	case field.ReadOnly:
	case c.Generated != "":
		j.add(finding.WrittenColumn, finding.Refuse, field.Name, fmt.Sprintf(`db:"%s,readonly"`, field.Name),
			"the column is GENERATED ALWAYS AS an expression: INSERT and UPDATE with it fail (428C9)")
	case c.Identity == "a" && slices.Contains(j.rel.Key.Columns, i): // Insert leaves it out while it is zero, Update always
	case c.Identity == "a":
		j.add(finding.WrittenColumn, finding.Refuse, field.Name, fmt.Sprintf(`db:"%s,readonly"`, field.Name),
			"the column is GENERATED ALWAYS AS IDENTITY: INSERT and UPDATE with it fail (428C9)")
	}
}

// scansItself tells whether a type reads NULL in its own way.
func scansItself(t reflect.Type) bool {
	return reflect.PointerTo(t).Implements(reflect.TypeFor[sql.Scanner]())
}

// session is the setting that decides how a column is spelled as text.
func session(c *Column, field *model.Column) string {
	if plain(field.Type).Kind() != reflect.String || scansItself(field.Type) || c.BaseSchema != "pg_catalog" {
		return ""
	}
	switch c.Base {
	case "timestamptz":
		return "TimeZone and DateStyle"
	case "date", "timestamp":
		return "DateStyle"
	case "interval":
		return "IntervalStyle"
	case "float4", "float8":
		return "extra_float_digits"
	case "money":
		return "lc_monetary"
	case "bytea":
		return "bytea_output"
	}
	return ""
}

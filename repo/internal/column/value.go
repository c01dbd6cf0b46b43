// Package column compares, orders and copies what fields of records hold, as the database would see it.
package column

import (
	"bytes"
	"cmp"
	"database/sql/driver"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/asidego/aside/model"
)

// Value converts the value of a field to what is sent to a driver: an int64, float64, bool, []byte, string, time.Time or
// nil. Drivers that take any Go type (pgx does, where lib/pq leaves the conversion to database/sql) then get the same
// values as those that do not.
//
// JSON goes as a string: lib/pq with binary_parameters=yes sends bytes as bytea.
func Value(v any) (driver.Value, error) {
	if doc, ok := v.(json.RawMessage); ok && doc != nil {
		return string(doc), nil
	}
	x, err := driver.DefaultParameterConverter.ConvertValue(v)
	if err != nil {
		return nil, err
	}
	if b, ok := x.([]byte); ok && b == nil {
		return nil, nil // some drivers send an empty value instead of NULL
	}
	return x, nil
}

// Of is Value for a column of rec, a pointer to a record. Its error names the column.
func Of(rel *model.Relation, rec any, column int) (driver.Value, error) {
	v, err := Value(rel.Field(rec, column))
	if err != nil {
		return nil, fmt.Errorf("column %s: %w", rel.Columns[column].Name, err)
	}
	return v, nil
}

// Equal tells whether two values of one column are stored alike. Times are compared as instants.
func Equal(a, b driver.Value) bool {
	if at, ok := a.(time.Time); ok {
		bt, ok := b.(time.Time)
		return ok && at.Equal(bt)
	}
	return reflect.DeepEqual(a, b)
}

// Compare orders two values of one column as ORDER BY does: text by its bytes (the collation "C"), false before true.
// NULL comes last. Values of different types are equal, which no column holds.
func Compare(a, b driver.Value) int {
	if a == nil || b == nil {
		return cmp.Compare(rank(a == nil), rank(b == nil))
	}
	switch a := a.(type) {
	case int64:
		if b, ok := b.(int64); ok {
			return cmp.Compare(a, b)
		}
	case float64:
		if b, ok := b.(float64); ok {
			return compareFloats(a, b)
		}
	case bool:
		if b, ok := b.(bool); ok {
			return cmp.Compare(rank(a), rank(b))
		}
	case string:
		if b, ok := b.(string); ok {
			return strings.Compare(a, b)
		}
	case []byte:
		if b, ok := b.([]byte); ok {
			return bytes.Compare(a, b)
		}
	case time.Time:
		if b, ok := b.(time.Time); ok {
			return a.Compare(b)
		}
	}
	return 0
}

// compareFloats has NaN last, as PostgreSQL has it; package cmp has it first.
func compareFloats(a, b float64) int {
	if a != a || b != b {
		return cmp.Compare(rank(a != a), rank(b != b))
	}
	return cmp.Compare(a, b)
}

func rank(b bool) int {
	if b {
		return 1
	}
	return 0
}

// IsZero tells whether a field has the zero value of its type, or is the zero time in any zone.
func IsZero(rel *model.Relation, rec any, column int) bool {
	v := reflect.ValueOf(rec).Elem().FieldByIndex(rel.Columns[column].Path())
	if t, ok := v.Interface().(time.Time); ok {
		return t.IsZero()
	}
	return v.IsZero()
}

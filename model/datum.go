package model

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strconv"
)

// Datum is the value of one key or index column in canonical form: whatever Go type carries it, equal values of a column
// are equal Datums, and Datums are comparable with ==.
type Datum struct {
	Kind DatumKind
	Int  int64  // of Int; 1 and 0 for Bool
	Text string // of Text and Bytes
}

// DatumKind tells what a Datum is.
type DatumKind uint8

// Kinds of Datum.
const (
	Null DatumKind = iota
	Int
	Bool
	Text
	Bytes
)

var errRange = errors.New("the value is over the range of bigint")

// DatumOf converts what a field or an argument holds: integers, booleans, strings, byte slices, types that are these
// underneath, pointers to them, and types whose driver.Valuer gives one of them (uuid.UUID, sql.NullString, enums).
// Fractions and times are refused: their equality in SQL is not that of their bytes.
func DatumOf(v any) (Datum, error) {
	switch v := v.(type) {
	case int64:
		return Datum{Kind: Int, Int: v}, nil
	case string:
		return Datum{Kind: Text, Text: v}, nil
	case int:
		return Datum{Kind: Int, Int: int64(v)}, nil
	case int32:
		return Datum{Kind: Int, Int: int64(v)}, nil
	case bool:
		if v {
			return Datum{Kind: Bool, Int: 1}, nil
		}
		return Datum{Kind: Bool}, nil
	case []byte:
		if v == nil {
			return Datum{}, nil
		}
		return Datum{Kind: Bytes, Text: string(v)}, nil
	case nil:
		return Datum{}, nil
	case driver.Valuer:
		return datumOfValuer(v)
	}
	return datumOfKind(reflect.ValueOf(v))
}

func datumOfValuer(v driver.Valuer) (Datum, error) {
	// As database/sql does it: a nil pointer to a type whose Value method has a value receiver is NULL.
	if rv := reflect.ValueOf(v); rv.Kind() == reflect.Pointer && rv.IsNil() &&
		rv.Type().Elem().Implements(reflect.TypeFor[driver.Valuer]()) {
		return Datum{}, nil
	}
	x, err := v.Value()
	if err != nil {
		return Datum{}, err
	}
	if again, ok := x.(driver.Valuer); ok {
		return Datum{}, fmt.Errorf("%T: its Value is a %T, not a basic value", v, again)
	}
	return DatumOf(x)
}

func datumOfKind(v reflect.Value) (Datum, error) {
	switch v.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return Datum{Kind: Int, Int: v.Int()}, nil
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Uint() > math.MaxInt64 {
			return Datum{}, errRange
		}
		return Datum{Kind: Int, Int: int64(v.Uint())}, nil
	case reflect.Bool:
		return DatumOf(v.Bool())
	case reflect.String:
		return Datum{Kind: Text, Text: v.String()}, nil
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return DatumOf(v.Bytes())
		}
	case reflect.Pointer:
		if v.IsNil() {
			return Datum{}, nil
		}
		return DatumOf(v.Elem().Interface())
	}
	return Datum{}, fmt.Errorf("a %s cannot be a key", v.Type())
}

// Arg returns the value as database/sql passes it to a driver.
func (d Datum) Arg() any {
	switch d.Kind {
	case Int:
		return d.Int
	case Bool:
		return d.Int == 1
	case Text:
		return d.Text
	case Bytes:
		return []byte(d.Text)
	}
	return nil
}

// String prints the value; NULL is "NULL", bytes are hexadecimal.
func (d Datum) String() string {
	switch d.Kind {
	case Int:
		return strconv.FormatInt(d.Int, 10)
	case Bool:
		return strconv.FormatBool(d.Int == 1)
	case Text:
		return d.Text
	case Bytes:
		return fmt.Sprintf("%x", d.Text)
	}
	return "NULL"
}

// HasNull tells whether a value has a NULL: then no row is found by it.
func HasNull(data []Datum) bool {
	for _, d := range data {
		if d.Kind == Null {
			return true
		}
	}
	return false
}

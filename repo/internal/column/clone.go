package column

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"reflect"
	"time"

	"github.com/asidego/aside/model"
)

// Clone returns a copy of rec whose columns share no memory with rec's that could change. Types of the user's own are
// copied as they travel to a database and back, through Value and Scan; fields that are no columns are assigned.
func Clone[T any](rel *model.Relation, rec *T) (*T, error) {
	c := *rec
	if rel.Immutable {
		return &c, nil
	}
	v := reflect.ValueOf(&c).Elem()
	for i := range rel.Columns {
		if err := own(v.FieldByIndex(rel.Columns[i].Path())); err != nil {
			return nil, fmt.Errorf("copy column %s: %w", rel.Columns[i].Name, err)
		}
	}
	return &c, nil
}

// own replaces a field's memory by a copy.
func own(f reflect.Value) error {
	if !shares(f.Type()) {
		return nil
	}
	if f.Kind() == reflect.Pointer {
		if f.IsNil() {
			return nil
		}
		c := reflect.New(f.Type().Elem())
		c.Elem().Set(f.Elem())
		f.Set(c)
		return own(c.Elem())
	}
	if to, ok := f.Addr().Interface().(sql.Scanner); ok {
		from, ok := f.Addr().Interface().(driver.Valuer)
		if !ok {
			return fmt.Errorf("%s is no driver.Valuer", f.Type())
		}
		v, err := from.Value()
		if err != nil {
			return err
		}
		f.SetZero()
		return scan(to, v)
	}
	if f.Kind() == reflect.Slice && !f.IsNil() {
		c := reflect.MakeSlice(f.Type(), f.Len(), f.Len())
		reflect.Copy(c, f)
		f.Set(c)
	}
	return nil
}

// scan reads a value as a driver would hand it out. Drivers differ in whether text comes as a string or as bytes, and
// types in which of them they take.
func scan(to sql.Scanner, v driver.Value) error {
	switch v := v.(type) {
	case nil:
		return nil // a zero value was NULL, and to is zero
	case string:
		err := to.Scan(v)
		if err != nil && to.Scan([]byte(v)) == nil {
			return nil
		}
		return err
	case []byte:
		err := to.Scan(bytes.Clone(v)) // Scan may keep what it is given
		if err != nil && to.Scan(string(v)) == nil {
			return nil
		}
		return err
	}
	return to.Scan(v)
}

// shares tells whether two copies of a value can have memory in common that can change.
func shares(t reflect.Type) bool {
	if t == reflect.TypeFor[time.Time]() {
		return false
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return true
	case reflect.Array:
		return shares(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if shares(t.Field(i).Type) {
				return true
			}
		}
	}
	return false
}

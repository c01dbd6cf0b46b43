package model

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"
)

var (
	scannerType = reflect.TypeFor[sql.Scanner]()
	valuerType  = reflect.TypeFor[driver.Valuer]()
	timeType    = reflect.TypeFor[time.Time]()
)

// fieldsOf lists the columns of a struct. Everything that a cache would lose, or that could not be scanned, is refused
// here: it would otherwise be noticed in production, as a zero value.
func fieldsOf(t reflect.Type) ([]Column, error) {
	if t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("%s is not a struct", t)
	}
	var columns []Column
	if err := appendFields(&columns, t, t, nil); err != nil {
		return nil, err
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("no field of %s has a db tag", t.Name())
	}
	seen := make(map[string]bool)
	for _, c := range columns {
		if seen[c.Name] {
			return nil, fmt.Errorf("two fields of %s have db tag %q", t.Name(), c.Name)
		}
		seen[c.Name] = true
	}
	return columns, nil
}

func appendFields(columns *[]Column, root, t reflect.Type, path []int) error {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, tagged := f.Tag.Lookup("db")
		name, options, _ := strings.Cut(tag, ",")
		at := append(append([]int(nil), path...), i)
		where := root.Name() + "." + f.Name
		switch {
		case name == "-":
			continue
		case f.Anonymous && name == "" && f.Type.Kind() == reflect.Struct && f.Type != timeType:
			if err := appendFields(columns, root, f.Type, at); err != nil {
				return err
			}
			continue
		case f.Anonymous && name == "":
			return fmt.Errorf("%s: only structs can be embedded, not %s", where, f.Type)
		case !f.IsExported():
			return fmt.Errorf(`%s is not exported: a cache would lose it; mark it db:"-" if it is no column`, where)
		case !tagged || name == "":
			return fmt.Errorf(`%s has no db tag: name its column, or mark it db:"-" if it is none`, where)
		}
		c := Column{Name: name, Type: f.Type, Nullable: nullable(f.Type), path: at}
		for option := range strings.SplitSeq(options, ",") {
			switch option {
			case "":
			case "default":
				c.Default = true
			case "readonly":
				c.ReadOnly = true
			case "sensitive":
				c.Sensitive = true
			case "nocache":
				c.NoCache = true
			default:
				return fmt.Errorf("%s: unknown option %q in its db tag", where, option)
			}
		}
		if err := scannable(f.Type); err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		*columns = append(*columns, c)
	}
	return nil
}

// scannable tells whether database/sql can read a column into the type and write it back.
func scannable(t reflect.Type) error {
	scans, values := reflect.PointerTo(t).Implements(scannerType), reflect.PointerTo(t).Implements(valuerType)
	switch {
	case scans && values, t == timeType:
		return nil
	case scans:
		return fmt.Errorf("%s is a sql.Scanner without a driver.Valuer: it can be read but not written", t)
	}
	switch t.Kind() {
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Pointer {
			break
		}
		return scannable(t.Elem())
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return nil
		}
		return fmt.Errorf("%s cannot be scanned: use a type such as pq.StringArray", t)
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return nil
	case reflect.Interface:
		return errors.New("an interface does not say what it holds: use a concrete type")
	}
	return fmt.Errorf("%s cannot be scanned: it is no basic type and no sql.Scanner", t)
}

func nullable(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || plain(t) != t
}

// plain is the type that a column holds when it is not NULL.
func plain(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.PkgPath() != "database/sql" || !strings.HasPrefix(t.Name(), "Null") {
		return t
	}
	return t.Field(0).Type // the value comes first in all of them
}

// immutable tells whether values of the type share nothing that can change.
func immutable(t reflect.Type) bool {
	if t == timeType {
		return true // its *Location is never written
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Map, reflect.Pointer, reflect.Interface, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	case reflect.Array:
		return immutable(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !immutable(t.Field(i).Type) {
				return false
			}
		}
	}
	return true
}

func carriesTime(t reflect.Type) bool {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t == timeType || t == reflect.TypeFor[sql.NullTime]() || t == reflect.TypeFor[sql.Null[time.Time]]()
}

package model

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
)

var tableName = regexp.MustCompile(`^[\pL_][\pL\pN_$]*(\.[\pL_][\pL\pN_$]*)?$`)

// NewTable checks spec against T and K. Its error names the table, the field or index, and the reason.
func NewTable[T any, K comparable](spec Spec[T, K]) (*Table[T, K], error) {
	name := spec.Name
	if !tableName.MatchString(name) {
		return nil, fmt.Errorf("model: %q is not the name of a table", name)
	}
	rel := &Relation{Name: name, Record: reflect.TypeFor[T](), Filter: spec.Filter, Strict: spec.Strict, Version: -1, Scope: -1}
	if strings.ContainsAny(spec.Filter, ";") || strings.Contains(spec.Filter, "--") {
		return nil, rel.errorf("Filter %q is more than a condition", spec.Filter)
	}
	columns, err := fieldsOf(rel.Record)
	if err != nil {
		return nil, rel.errorf("%w", err)
	}
	rel.Columns = columns
	rel.Immutable = immutable(rel.Record)
	for _, c := range columns {
		if carriesTime(c.Type) {
			rel.times = append(rel.times, c.path)
		}
	}
	if spec.Version != "" {
		if err := rel.setVersion(spec.Version); err != nil {
			return nil, err
		}
	}

	if spec.Scope != "" {
		if err := rel.setScope(spec.Scope); err != nil {
			return nil, err
		}
		rel.Images = append(rel.Images, rel.Scope)
	}
	if err := rel.setCanonical(spec.Canonical); err != nil {
		return nil, err
	}

	var names []string
	if spec.Key != "" {
		names = []string{spec.Key}
	}
	rel.Key = newAccess[T, K](names, true)
	accesses := []*Access{rel.Key}
	for _, x := range spec.Indexes {
		if x == nil || reflect.ValueOf(x).IsNil() {
			return nil, rel.errorf("an index is nil: declare indexes before the table that lists them")
		}
		accesses = append(accesses, x.Access())
	}
	bound := make([]Access, len(accesses)) // nothing is written to the indexes before all are found good
	seen := make(map[string]bool)
	for i, a := range accesses {
		if a.rel != nil {
			return nil, rel.errorf("index %s already belongs to table %s", a.Name, a.rel.Name)
		}
		if bound[i], err = rel.bind(*a, i == 0); err != nil {
			return nil, err
		}
		if seen[bound[i].Name] {
			return nil, rel.errorf("index %s is listed twice", bound[i].Name)
		}
		seen[bound[i].Name] = true
		rel.Images = append(rel.Images, bound[i].Columns...)
		if bound[i].Order, err = rel.order(bound[i], bound[0].Columns); err != nil {
			return nil, err
		}
	}
	sort.Ints(rel.Images)
	rel.Images = slices.Compact(rel.Images)
	rel.scope, _ = slices.BinarySearch(rel.Images, rel.Scope)
	for i := range rel.Columns {
		if rel.Columns[i].Canonical != nil && !slices.Contains(rel.Images, i) {
			return nil, rel.errorf("canonical %s: the column belongs to neither key nor index", rel.Columns[i].Name)
		}
	}
	for i, a := range accesses {
		*a = bound[i]
		for _, c := range a.Columns {
			at, _ := slices.BinarySearch(rel.Images, c)
			a.images = append(a.images, at)
		}
	}
	rel.Indexes = accesses[1:]
	return &Table[T, K]{rel}, nil
}

func (r *Relation) setVersion(name string) error {
	i, ok := r.column(name)
	if !ok {
		return r.errorf("version %s: no field of %s has db tag %q", name, r.Record.Name(), name)
	}
	switch r.Columns[i].Type.Kind() {
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
	default:
		return r.errorf("version %s is %s in %s, not an integer", name, r.Columns[i].Type, r.Record.Name())
	}
	r.Version = i
	return nil
}

// bind finds the columns of a key or an index in the record and compares their types.
func (r *Relation) bind(a Access, key bool) (Access, error) {
	a.rel = r
	what := "index " + a.Name
	if key {
		what = "key " + a.Name
	}
	types := []reflect.Type{a.value}
	if len(a.names) != 1 {
		if len(a.names) > 1 {
			return a, r.errorf("%s: several columns need a struct whose db tags name them, not %s", what, a.value)
		}
		fields, err := fieldsOf(a.value)
		if err != nil {
			return a, r.errorf("%s: name its column, or use a struct of columns: %w", strings.TrimSpace(what), err)
		}
		types = nil
		for _, f := range fields {
			a.names = append(a.names, f.Name)
			a.fields = append(a.fields, f.path)
			types = append(types, f.Type)
		}
		a.Name = strings.Join(a.names, ",")
		what = strings.Fields(what)[0] + " " + a.Name
	}
	letter := "V"
	if key {
		letter = "K"
	}
	for i, name := range a.names {
		c, ok := r.column(name)
		if !ok {
			return a, r.errorf("%s: no field of %s has db tag %q", what, r.Record.Name(), name)
		}
		column := r.Columns[c]
		if got := plain(column.Type); got != types[i] {
			return a, r.errorf("%s is %s in %s, %s is %s", what, got, r.Record.Name(), letter, types[i])
		}
		if key && column.Nullable && column.Type.Kind() != reflect.Slice {
			return a, r.errorf("%s is %s in %s: a key cannot be NULL", what, column.Type, r.Record.Name())
		}
		if err := keyType(types[i]); err != nil {
			return a, r.errorf("%s: %w", what, err)
		}
		a.Columns = append(a.Columns, c)
		a.spelled = a.spelled || column.Canonical != nil
		a.Sensitive = a.Sensitive || column.Sensitive
	}
	return a, nil
}

// keyType refuses types whose equality in SQL is not that of canonical bytes.
func keyType(t reflect.Type) error {
	switch t.Kind() {
	case reflect.Float32, reflect.Float64:
		return errors.New("a float cannot be a key: equal numbers have unequal bytes")
	case reflect.Pointer:
		return fmt.Errorf("declare it with %s: NULL finds no row", t.Elem())
	}
	if t == timeType {
		return errors.New("a time cannot be a key: equal times have unequal bytes")
	}
	if t.Implements(valuerType) {
		return nil // its values are judged one by one
	}
	if _, err := DatumOf(reflect.Zero(t).Interface()); err != nil {
		return err
	}
	return nil
}

// order reads what OrderBy was given and appends the key.
func (r *Relation) order(a Access, key []int) ([]Order, error) {
	var order []Order
	for _, s := range a.orderBy {
		words := strings.Fields(s)
		o := Order{}
		switch {
		case len(words) == 2 && strings.EqualFold(words[1], "DESC"):
			o.Desc = true
		case len(words) == 1, len(words) == 2 && strings.EqualFold(words[1], "ASC"):
		default:
			return nil, a.errorf("order %q is not a column with ASC or DESC", s)
		}
		c, ok := r.column(words[0])
		if !ok {
			return nil, a.errorf("order %q: no field of %s has db tag %q", s, r.Record.Name(), words[0])
		}
		if r.Columns[c].Nullable {
			return nil, a.errorf("order %q: a column that may be NULL cannot order a list that is read by pages", s)
		}
		o.Column = c
		order = append(order, o)
	}
	for _, c := range key {
		if !slices.ContainsFunc(order, func(o Order) bool { return o.Column == c }) {
			order = append(order, Order{Column: c})
		}
	}
	return order, nil
}

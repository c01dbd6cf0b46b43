package model

import (
	"reflect"
	"strings"
)

// Unique is a unique index. V is the column's Go type, or a struct whose db tags name several columns. For a column that
// may be NULL (a pointer, a sql.Null type) V is the plain type: NULL finds no row.
type Unique[T, V any] struct{ access *Access }

// NewUnique declares a unique index; give no column if V is a struct. NewTable reports mistakes.
func NewUnique[T, V any](column ...string) *Unique[T, V] {
	return &Unique[T, V]{newAccess[T, V](column, true)}
}

// Eq refers to the row whose index value is v.
func (u *Unique[T, V]) Eq(v V) One[T] { return One[T]{u.access, v} }

// Access returns the index as code sees it that does not know T and V.
func (u *Unique[T, V]) Access() *Access { return u.access }

func (u *Unique[T, V]) index(T)  {}
func (u *Unique[T, V]) target(T) {}

// Index is a plain index: what lists are read by, and what cached queries depend on.
type Index[T, V any] struct{ access *Access }

// NewIndex declares a plain index; see NewUnique.
func NewIndex[T, V any](column ...string) *Index[T, V] {
	return &Index[T, V]{newAccess[T, V](column, false)}
}

// OrderBy sets the order of lists, such as "created_at DESC"; the key is appended. Default: the key. A column that may be
// NULL cannot order a list that is read by pages.
func (x *Index[T, V]) OrderBy(columns ...string) *Index[T, V] {
	x.access.orderBy = columns
	return x
}

// Eq refers to the rows whose index value is v.
func (x *Index[T, V]) Eq(v V) Many[T] { return Many[T]{x.access, v} }

// Access returns the index as code sees it that does not know T and V.
func (x *Index[T, V]) Access() *Access { return x.access }

func (x *Index[T, V]) index(T) {}

// Indexes lists indexes of one table, of any value type.
type Indexes[T any] []interface {
	Access() *Access
	index(T)
}

// Access is a list of columns by which rows are found: a table's key or one of its indexes.
type Access struct {
	Name    string  // column names joined by commas
	Unique  bool    // a key or a unique index
	Columns []int   // positions in Relation.Columns
	Order   []Order // of lists; ends in the key

	Sensitive bool // one of its columns is

	rel     *Relation
	names   []string     // as declared, before the table is checked
	orderBy []string     // as declared
	value   reflect.Type // V or K
	fields  [][]int      // of value, if it is a struct of several columns
	images  []int        // positions of Columns in an Image
	spelled bool         // one of its columns has a Canonical
}

// Order is one column of an order.
type Order struct {
	Column int // position in Relation.Columns
	Desc   bool
}

// Relation returns the table, or nil if none lists the index.
func (a *Access) Relation() *Relation { return a.rel }

func newAccess[T, V any](columns []string, unique bool) *Access {
	return &Access{
		Name: strings.Join(columns, ","), Unique: unique,
		names: columns, value: reflect.TypeFor[V](),
	}
}

// Type is the type of the values, K or V.
func (a *Access) Type() reflect.Type { return a.value }

// Place refers to the rows at a value of the type that the index was declared with.
func (a *Access) Place(value any) Place { return placeOf(a, value) }

// Of appends the columns of a record's own value. rec is a pointer to a record.
func (a *Access) Of(buf []Datum, rec any) ([]Datum, error) {
	v, from := reflect.ValueOf(rec).Elem(), len(buf)
	for _, c := range a.Columns {
		d, err := DatumOf(v.FieldByIndex(a.rel.Columns[c].path).Interface())
		if err != nil {
			return nil, a.rel.errorf("column %s: %w", a.rel.Columns[c].Name, err)
		}
		buf = append(buf, d)
	}
	a.spell(buf[from:])
	return buf, nil
}

// OfImage appends the columns of an image of the index's table.
func (a *Access) OfImage(buf []Datum, img Image) []Datum {
	from := len(buf)
	for _, i := range a.images {
		buf = append(buf, img[i])
	}
	a.spell(buf[from:])
	return buf
}

// spell gives texts their one spelling.
func (a *Access) spell(data []Datum) {
	if !a.spelled {
		return
	}
	for i, c := range a.Columns {
		a.rel.Columns[c].spell(&data[i])
	}
}

func (a *Access) data(buf []Datum, value any) ([]Datum, error) {
	from := len(buf)
	if a.fields == nil {
		d, err := DatumOf(value)
		if err != nil {
			return nil, a.errorf("%w", err)
		}
		buf = append(buf, d)
		a.spell(buf[from:])
		return buf, nil
	}
	v := reflect.ValueOf(value)
	for _, f := range a.fields {
		d, err := DatumOf(v.FieldByIndex(f).Interface())
		if err != nil {
			return nil, a.errorf("%w", err)
		}
		buf = append(buf, d)
	}
	a.spell(buf[from:])
	return buf, nil
}

func (a *Access) errorf(format string, args ...any) error {
	return a.rel.errorf("index "+a.Name+": "+format, args...)
}

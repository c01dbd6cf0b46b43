package model

import (
	"database/sql"
	"fmt"
	"reflect"
	"time"
)

// Relation is a Table as code sees it that does not know T and K: repositories, caches, generators. It is immutable.
type Relation struct {
	Name    string
	Record  reflect.Type // T
	Columns []Column     // in the order of the record's fields
	Key     *Access
	Indexes []*Access // as in Spec.Indexes
	Version int       // position in Columns; -1: none
	Scope   int       // position of the tenant column in Columns; -1: none
	Filter  string
	Strict  bool  // writers announce themselves before COMMIT
	Images  []int // positions of the key's, the indexes' and the scope's columns in Columns: what an Image holds

	// Immutable is true if a record has no memory that could change under another holder of the same record: strings and
	// times count as immutable; slices, maps and pointers do not.
	Immutable bool

	scope int     // position of the scope's column in an Image
	times [][]int // paths of fields that carry times
}

// Column is a column and the field that holds it.
type Column struct {
	Name      string
	Type      reflect.Type // of the field
	Nullable  bool         // the field can hold NULL
	Default   bool         // Insert leaves it to the database while it is zero
	ReadOnly  bool         // never written
	Sensitive bool         // stands in no cache key, error or log
	NoCache   bool         // must not be stored in a cache

	// Canonical is the one spelling of a text among those that SQL calls equal; nil: texts are equal byte by byte.
	Canonical func(string) string

	path []int
}

// Path is the field's index sequence in the record, see reflect.Value.FieldByIndex.
func (c *Column) Path() []int { return c.path }

// Image is the key and index values of a row as it was at some moment, in the order of Relation.Images. nil: no row.
type Image []Datum

// Pointers returns what rows.Scan needs to read these columns into rec, a pointer to a record.
func (r *Relation) Pointers(rec any, columns []int) []any {
	v := reflect.ValueOf(rec).Elem()
	ptrs := make([]any, len(columns))
	for i, c := range columns {
		ptrs[i] = v.FieldByIndex(r.Columns[c].path).Addr().Interface()
	}
	return ptrs
}

// Field returns the value of a column of rec, a pointer to a record.
func (r *Relation) Field(rec any, column int) any {
	return reflect.ValueOf(rec).Elem().FieldByIndex(r.Columns[column].path).Interface()
}

// Image returns the image of rec, a pointer to a record of which at least the columns in Images are set.
func (r *Relation) Image(rec any) (Image, error) {
	v := reflect.ValueOf(rec).Elem()
	img := make(Image, len(r.Images))
	for i, c := range r.Images {
		d, err := DatumOf(v.FieldByIndex(r.Columns[c].path).Interface())
		if err != nil {
			return nil, r.errorf("column %s: %w", r.Columns[c].Name, err)
		}
		img[i] = d
	}
	return img, nil
}

// Normalize moves the times of rec, a pointer to a record, to UTC without their monotonic reading, so that a record read
// from the database equals the same record read from a cache. It knows time.Time, sql.NullTime, sql.Null[time.Time] and
// pointers to these; other types must do it themselves when they scan.
func (r *Relation) Normalize(rec any) {
	if len(r.times) == 0 {
		return
	}
	v := reflect.ValueOf(rec).Elem()
	for _, path := range r.times {
		f := v.FieldByIndex(path)
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				continue
			}
			f = f.Elem()
		}
		switch t := f.Addr().Interface().(type) {
		case *time.Time:
			*t = t.Round(0).UTC()
		case *sql.NullTime:
			t.Time = t.Time.Round(0).UTC()
		case *sql.Null[time.Time]:
			t.V = t.V.Round(0).UTC()
		}
	}
}

// AllColumns returns the positions of all columns.
func (r *Relation) AllColumns() []int {
	all := make([]int, len(r.Columns))
	for i := range all {
		all[i] = i
	}
	return all
}

// Accesses returns the key and the indexes.
func (r *Relation) Accesses() []*Access {
	return append([]*Access{r.Key}, r.Indexes...)
}

func (r *Relation) column(name string) (int, bool) {
	for i := range r.Columns {
		if r.Columns[i].Name == name {
			return i, true
		}
	}
	return 0, false
}

func (r *Relation) errorf(format string, args ...any) error {
	return fmt.Errorf("model: "+r.Name+": "+format, args...)
}

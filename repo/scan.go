package repo

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

// target says where columns of a row go: these columns of rec, a pointer to a record. Without columns rec is a pointer to
// one value.
type target struct {
	rec     any
	columns []int
}

// each runs a statement and calls scan for every row it returns.
func (r *SQL[T, K]) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) (err error) {
	rows, err := r.db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() {
		if closing := rows.Close(); err == nil {
			err = closing
		}
	}()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// records runs a statement that returns all columns.
func (r *SQL[T, K]) records(ctx context.Context, query string, args []any) ([]T, error) {
	var recs []T
	err := r.each(ctx, query, args, func(rows *sql.Rows) error {
		rec, err := r.record(rows)
		recs = append(recs, rec)
		return err
	})
	if err != nil {
		return nil, err
	}
	return recs, nil
}

// record reads a row of all columns.
func (r *SQL[T, K]) record(rows *sql.Rows) (T, error) {
	var rec T
	err := scanRow(r.rel, rows, target{&rec, r.text.all})
	r.rel.Normalize(&rec)
	return rec, err
}

// one reads the row that a statement by key returns, if any.
func (r *SQL[T, K]) one(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) (bool, error) {
	n := 0
	err := r.each(ctx, query, args, func(rows *sql.Rows) error {
		if n++; n > 1 {
			return fault.ErrTwoRows
		}
		return scan(rows)
	})
	return n == 1, err
}

// scanRow reads a row, the targets' columns one after another.
func scanRow(rel *model.Relation, rows *sql.Rows, targets ...target) error {
	var ptrs []any
	for _, t := range targets {
		if t.columns == nil {
			ptrs = append(ptrs, t.rec)
			continue
		}
		for _, ptr := range rel.Pointers(t.rec, t.columns) {
			ptrs = append(ptrs, scannable(ptr))
		}
	}
	if err := rows.Scan(ptrs...); err != nil {
		return explainScan(rel, rows, err, ptrs, targets)
	}
	return nil
}

// scannable makes a pointer to a named type of bytes, such as json.RawMessage, one to []byte: database/sql reads NULL
// into the latter only.
func scannable(ptr any) any {
	if _, ok := ptr.(sql.Scanner); ok {
		return ptr
	}
	if t := reflect.TypeOf(ptr).Elem(); t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return reflect.ValueOf(ptr).Convert(reflect.TypeFor[*[]byte]()).Interface()
	}
	return ptr
}

// explainScan finds the column that cannot be read by reading the row again, one column at a time: database/sql says
// its name and place in the statement, which may be ours, but not its field.
func explainScan(rel *model.Relation, rows *sql.Rows, err error, ptrs []any, targets []target) error {
	var columns []int
	for _, t := range targets {
		columns = append(columns, t.columns...)
	}
	one := make([]any, len(ptrs))
	values := len(ptrs) - len(columns) // they come first
	for i := values; i < len(ptrs); i++ {
		c := columns[i-values]
		for j := range one {
			one[j] = new(any)
		}
		one[i] = ptrs[i]
		if again := rows.Scan(one...); again != nil {
			field := rel.Record.FieldByIndex(rel.Columns[c].Path())
			return fmt.Errorf("column %s does not fit field %s.%s (%s): %w",
				rel.Columns[c].Name, rel.Record.Name(), field.Name, field.Type, again)
		}
	}
	return err
}

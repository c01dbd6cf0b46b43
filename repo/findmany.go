package repo

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/lib/pq"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
)

// How many keys one statement asks for. Single columns travel as one array; of several columns each value is a
// parameter, and the planner takes its time over long lists of rows.
const (
	arrayChunk = 10_000
	rowsChunk  = 500
)

// FindMany returns, in the order of keys, the rows that exist. It sends one statement for each 10,000 keys, or 500 of
// several columns; outside a transaction each has a snapshot of its own.
//
// PostgreSQL may consider a stored key equal to one that was asked for although they differ as Go values, as with the
// collation of citext. Such rows are found by a statement of their own for each key that was left without an answer.
func (r *SQL[T, K]) FindMany(ctx context.Context, keys []K) ([]T, error) {
	asked := make([][]model.Datum, len(keys)) // nil: a NULL in it, no row
	first := make(map[any]int, len(keys))     // place in keys where a key is first asked for
	var distinct [][]model.Datum
	for i, key := range keys {
		data, err := r.table.Row(key).Place().Data(nil)
		if err != nil {
			return nil, fail(ctx, r.rel, "find many", fmt.Sprint(key), err)
		}
		if model.HasNull(data) {
			continue
		}
		asked[i] = data
		if at := column.Lookup(data); !has(first, at) {
			first[at] = i
			distinct = append(distinct, data)
		}
	}
	found := make(map[any]*T, len(distinct))
	strays := false
	size := arrayChunk
	if len(r.rel.Key.Columns) > 1 {
		size = rowsChunk
	}
	for len(distinct) > 0 {
		n := min(size, len(distinct))
		recs, err := r.atKeys(ctx, distinct[:n])
		if err != nil {
			return nil, fail(ctx, r.rel, "find many", fmt.Sprintf("(%d keys)", n), err)
		}
		for i := range recs {
			data, err := r.rel.Key.Of(nil, &recs[i])
			if err != nil {
				return nil, fail(ctx, r.rel, "find many", "", err)
			}
			at := column.Lookup(data)
			if has(first, at) {
				found[at] = &recs[i]
			} else {
				strays = true
			}
		}
		distinct = distinct[n:]
	}
	return r.inOrder(ctx, keys, asked, first, found, strays)
}

// inOrder gives each key its row; a key that was asked for before, a copy.
func (r *SQL[T, K]) inOrder(
	ctx context.Context, keys []K, asked [][]model.Datum, first map[any]int, found map[any]*T, strays bool,
) ([]T, error) {
	recs := make([]T, 0, len(found))
	for i, data := range asked {
		if data == nil {
			continue
		}
		at := column.Lookup(data)
		rec := found[at]
		if rec == nil && strays {
			one, err := r.Find(ctx, keys[i])
			if errors.Is(err, model.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			rec = &one
		}
		if rec != nil && first[at] != i {
			one, err := column.Clone(r.rel, rec)
			if err != nil {
				return nil, fail(ctx, r.rel, "find many", fmt.Sprint(keys[i]), err)
			}
			rec = one
		}
		if rec != nil {
			recs = append(recs, *rec)
		}
	}
	return recs, nil
}

// atKeys selects the rows with these keys, in any order.
func (r *SQL[T, K]) atKeys(ctx context.Context, keys [][]model.Datum) ([]T, error) {
	var a args
	where := ""
	if len(r.rel.Key.Columns) == 1 {
		array, err := arrayOf(keys)
		if err != nil {
			return nil, err
		}
		where = r.text.list(r.rel.Key.Columns) + " = ANY(" + a.add(array) + ")"
	} else {
		rows := make([]string, len(keys))
		for i, data := range keys {
			values := make([]string, len(data))
			for j, d := range data {
				values[j] = a.add(d.Arg())
			}
			rows[i] = "(" + strings.Join(values, ", ") + ")"
		}
		where = "(" + r.text.list(r.rel.Key.Columns) + ") IN (" + strings.Join(rows, ", ") + ")"
	}
	return r.records(ctx, r.text.select1+" WHERE "+where+r.text.filter, a)
}

// arrayOf makes one argument of many values: an array in PostgreSQL's text form, whose type the server takes from the
// column that it is compared with.
func arrayOf(keys [][]model.Datum) (any, error) {
	elem := reflect.TypeOf(keys[0][0].Arg())
	array := reflect.MakeSlice(reflect.SliceOf(elem), 0, len(keys))
	for _, data := range keys {
		v := reflect.ValueOf(data[0].Arg())
		if v.Type() != elem {
			return nil, fmt.Errorf("keys of one type are %s and %s to the driver", elem, v.Type())
		}
		array = reflect.Append(array, v)
	}
	return pq.Array(array.Interface()).Value()
}

func has[V any](m map[any]V, key any) bool {
	_, ok := m[key]
	return ok
}

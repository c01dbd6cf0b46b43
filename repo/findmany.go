package repo

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/lib/pq"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
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
// PostgreSQL may consider a stored key equal to one that was asked for although they differ as Go values: char(n),
// citext, collations that ignore case. So where some textual keys are left without an answer and others are not, one
// more statement asks for those, and if it finds anything, each gets a statement of its own.
func (r *SQL[T, K]) FindMany(ctx context.Context, keys []K) ([]T, error) {
	places := make([]model.Place, len(keys))
	for i, key := range keys {
		places[i] = r.table.Row(key).Place()
	}
	recs, err := r.findMany(ctx, r.rel.Key, places)
	return recs, fail(ctx, r.rel, "find many", fmt.Sprintf("(%d keys)", len(keys)), err)
}

// FindEach is FindMany at keys or at values of one unique index; FindManyBy calls it.
func (r *SQL[T, K]) FindEach(ctx context.Context, at []model.One[T]) ([]T, error) {
	if len(at) == 0 {
		return nil, nil
	}
	places := make([]model.Place, len(at))
	for i, one := range at {
		places[i] = one.Place()
		if err := fault.Stray(r.rel, places[i]); err != nil {
			return nil, err
		}
		if places[i].Access != places[0].Access {
			return nil, fail(ctx, r.rel, "find many", "", errors.New("the values are of several indexes"))
		}
	}
	recs, err := r.findMany(ctx, places[0].Access, places)
	return recs, fail(ctx, r.rel, "find many", fmt.Sprintf("(%d values of %s)", len(at), places[0].Access.Name), err)
}

func (r *SQL[T, K]) findMany(ctx context.Context, by *model.Access, places []model.Place) ([]T, error) {
	asked := make([][]model.Datum, len(places)) // nil: a NULL in it, no row
	first := make(map[any]int, len(places))     // where a value is first asked for
	var distinct [][]model.Datum
	for i, place := range places {
		data, err := place.Data(nil)
		if err != nil {
			return nil, err
		}
		if model.HasNull(data) {
			continue
		}
		asked[i] = data
		at := column.Lookup(data)
		if _, again := first[at]; !again {
			first[at] = i
			distinct = append(distinct, data)
		}
	}
	rows, err := r.atKeys(ctx, by, distinct)
	if err != nil {
		return nil, err
	}
	found := make(map[any]*T, len(rows))
	for i := range rows {
		data, err := by.Of(nil, &rows[i])
		if err != nil {
			return nil, err
		}
		at := column.Lookup(data)
		if other := found[at]; other != nil {
			// The same row twice, asked for by two spellings in two statements, or an index that is not unique.
			same, err := r.sameRow(other, &rows[i])
			if err != nil {
				return nil, err
			}
			if !same {
				return nil, fault.ErrTwoRows
			}
		}
		found[at] = &rows[i]
	}
	oneByOne, err := r.hidden(ctx, by, distinct, found)
	if err != nil {
		return nil, err
	}
	return r.inOrder(ctx, places, asked, first, found, oneByOne)
}

func (r *SQL[T, K]) sameRow(a, b *T) (bool, error) {
	first, err := r.rel.Key.Of(nil, a)
	if err != nil {
		return false, err
	}
	second, err := r.rel.Key.Of(nil, b)
	return slices.Equal(first, second), err
}

// hidden tells whether keys without an answer may have a row among those found, under another spelling.
func (r *SQL[T, K]) hidden(ctx context.Context, by *model.Access, keys [][]model.Datum, found map[any]*T) (bool, error) {
	var left [][]model.Datum
	for _, data := range keys {
		if _, ok := found[column.Lookup(data)]; !ok && r.ambiguous(by, data) {
			left = append(left, data)
		}
	}
	if len(left) == 0 || len(found) == 0 {
		return false, nil
	}
	rows, err := r.atKeys(ctx, by, left)
	return len(rows) > 0, err
}

// ambiguous tells whether SQL may call another key equal to this one. Numbers have one spelling, and so have arrays such
// as uuid.UUID, which print themselves.
func (r *SQL[T, K]) ambiguous(by *model.Access, key []model.Datum) bool {
	for i, c := range by.Columns {
		if key[i].Kind == model.Text && r.rel.Columns[c].Type.Kind() != reflect.Array {
			return true
		}
	}
	return false
}

// inOrder gives each key its row; a key that was asked for before, a copy.
func (r *SQL[T, K]) inOrder(
	ctx context.Context, places []model.Place, asked [][]model.Datum, first map[any]int, found map[any]*T, oneByOne bool,
) ([]T, error) {
	recs := make([]T, 0, len(found))
	for i, data := range asked {
		if data == nil {
			continue
		}
		at := column.Lookup(data)
		rec := found[at]
		if rec == nil && oneByOne {
			one, err := r.find(ctx, places[i])
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
				return nil, err
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
func (r *SQL[T, K]) atKeys(ctx context.Context, by *model.Access, keys [][]model.Datum) ([]T, error) {
	size, condition := arrayChunk, r.inArray
	if len(by.Columns) > 1 {
		size, condition = rowsChunk, r.inRows
	}
	var all []T
	for some := range slices.Chunk(keys, size) {
		var a args
		where, err := condition(&a, by, some)
		if err != nil {
			return nil, err
		}
		narrow, err := r.narrow(ctx, &a)
		if err != nil {
			return nil, err
		}
		recs, err := r.records(ctx, r.text.select1+" WHERE "+where+narrow, a)
		if err != nil {
			return nil, err
		}
		all = append(all, recs...)
	}
	return all, nil
}

func (r *SQL[T, K]) inArray(a *args, by *model.Access, keys [][]model.Datum) (string, error) {
	array, err := arrayOf(keys)
	return r.text.list(by.Columns) + " = ANY(" + a.add(array) + ")", err
}

func (r *SQL[T, K]) inRows(a *args, by *model.Access, keys [][]model.Datum) (string, error) {
	rows := make([]string, len(keys))
	for i, data := range keys {
		values := make([]string, len(data))
		for j, d := range data {
			values[j] = a.add(d.Arg())
		}
		rows[i] = "(" + strings.Join(values, ", ") + ")"
	}
	return "(" + r.text.list(by.Columns) + ") IN (" + strings.Join(rows, ", ") + ")", nil
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

package memrepo

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
)

// Insert stores rec. A zero key of one integer column is assigned, counting from 1; other keys must be given, or set by
// Fill.
func (r *Repo[T, K]) Insert(ctx context.Context, rec T) (T, error) {
	stored, err := r.insert(ctx, &rec)
	return stored, fault.Wrap(ctx, r.rel, "insert", fault.DescribeRecord(r.rel, &rec), err)
}

func (r *Repo[T, K]) insert(ctx context.Context, given *T) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	rec, err := r.copy(given)
	if err != nil {
		return none, err
	}
	for i := range r.rel.Columns {
		if r.rel.Columns[i].ReadOnly {
			field(r.rel, &rec, i).SetZero()
		}
	}
	r.fill(&rec, true)
	if rec, err = r.copy(&rec); err != nil { // fill may keep what it filled in
		return none, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.assignKey(&rec); err != nil {
		return none, err
	}
	if err := storableRecord(r.rel, &rec); err != nil {
		return none, err
	}
	key, err := r.lookup(&rec)
	if err != nil {
		return none, err
	}
	if r.rows[key] != nil {
		data, err := r.rel.Key.Of(nil, &rec)
		if err != nil {
			return none, err
		}
		return none, fault.At(model.ErrDuplicate, r.rel.Key, data)
	}
	if err := r.conflict(&rec, key); err != nil {
		return none, err
	}
	r.rows[key] = &rec
	return r.copy(&rec)
}

var errZeroKey = errors.New("its key has a zero column, which is left to the database's DEFAULT: only single integers " +
	"are assigned here, use Fill for others")

// assignKey counts keys as a sequence does, but skips those that are taken. The caller holds mu.
func (r *Repo[T, K]) assignKey(rec *T) error {
	for _, c := range r.rel.Key.Columns {
		if !column.IsZero(r.rel, rec, c) {
			continue
		}
		f := field(r.rel, rec, c)
		if len(r.rel.Key.Columns) > 1 || (!f.CanInt() && !f.CanUint()) {
			return errZeroKey
		}
		for taken := true; taken; {
			r.last++
			if f.CanInt() {
				f.SetInt(r.last)
			} else {
				f.SetUint(uint64(r.last))
			}
			key, err := r.lookup(rec)
			if err != nil {
				return err
			}
			taken = r.rows[key] != nil
		}
	}
	return nil
}

// Modify gives the stored row to change and stores what it becomes. Other writers of the row wait. change may use the
// repository, but must not write this row.
func (r *Repo[T, K]) Modify(ctx context.Context, key K, change func(rec *T) error) (T, error) {
	place := r.table.Row(key).Place()
	var refused error
	rec, err := r.replace(ctx, place, func(before *T) (T, error) {
		after, err := r.copy(before)
		if err != nil {
			return after, err
		}
		if refused = change(&after); refused != nil {
			return after, refused
		}
		return r.altered(before, &after)
	})
	if refused != nil {
		return rec, refused
	}
	return rec, fault.Wrap(ctx, r.rel, "modify", fault.Describe(place), err)
}

// altered returns after, or before if they are stored alike.
func (r *Repo[T, K]) altered(before, after *T) (T, error) {
	same := true
	for i := range r.rel.Columns {
		c := &r.rel.Columns[i]
		was, err := column.Of(r.rel, before, i)
		if err != nil {
			return *before, err
		}
		is, err := column.Of(r.rel, after, i)
		switch {
		case err != nil:
			return *before, err
		case i == r.rel.Version, column.Equal(was, is):
		case slices.Contains(r.rel.Key.Columns, i):
			return *before, fault.KeyAltered(c)
		case c.ReadOnly:
			return *before, fault.ReadOnly(c)
		default:
			same = false
		}
	}
	if same {
		return *before, nil
	}
	r.nextVersion(before, after)
	r.fill(after, false)
	return *after, nil
}

// Update stores rec if its version is the stored one.
func (r *Repo[T, K]) Update(ctx context.Context, rec T) (T, error) {
	about := fault.DescribeRecord(r.rel, &rec)
	if r.rel.Version < 0 {
		var none T
		return none, fault.Wrap(ctx, r.rel, "update", about, fault.ErrNoVersion)
	}
	key, err := r.rel.Key.Of(nil, &rec)
	if err != nil {
		var none T
		return none, fault.Wrap(ctx, r.rel, "update", about, err)
	}
	stored, err := r.replaceAt(ctx, key, func(before *T) (T, error) {
		after, err := r.copy(&rec)
		if err != nil {
			return after, err
		}
		if field(r.rel, before, r.rel.Version).Int() != field(r.rel, &after, r.rel.Version).Int() {
			return after, fault.At(model.ErrConflict, r.rel.Key, key)
		}
		for i := range r.rel.Columns {
			if r.rel.Columns[i].ReadOnly {
				field(r.rel, &after, i).Set(field(r.rel, before, i))
			}
		}
		r.nextVersion(before, &after)
		r.fill(&after, false)
		return after, nil
	})
	return stored, fault.Wrap(ctx, r.rel, "update", about, err)
}

func (r *Repo[T, K]) nextVersion(before, after *T) {
	if v := r.rel.Version; v >= 0 {
		field(r.rel, after, v).SetInt(field(r.rel, before, v).Int() + 1)
	}
}

// replace stores what next makes of a row.
func (r *Repo[T, K]) replace(ctx context.Context, at model.Place, next func(before *T) (T, error)) (T, error) {
	data, err := at.Data(nil)
	if err != nil {
		var none T
		return none, err
	}
	return r.replaceAt(ctx, data, next)
}

func (r *Repo[T, K]) replaceAt(ctx context.Context, data []model.Datum, next func(before *T) (T, error)) (T, error) {
	var none T
	key := column.Lookup(data)
	unlock, err := r.lock(ctx, key)
	if err != nil {
		return none, err
	}
	defer unlock()
	before, err := r.row(data, key)
	if err != nil {
		return none, err
	}
	after, err := next(before)
	if err != nil {
		return none, err
	}
	if after, err = r.copy(&after); err != nil {
		return none, err
	}
	if err := storableRecord(r.rel, &after); err != nil {
		return none, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.conflict(&after, key); err != nil {
		return none, err
	}
	r.rows[key] = &after
	return r.copy(&after)
}

// row returns the row with a key.
func (r *Repo[T, K]) row(data []model.Datum, key any) (*T, error) {
	if err := storable(data); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rec := r.rows[key]
	if rec == nil || model.HasNull(data) || !r.keep(*rec) {
		return nil, fault.At(model.ErrNotFound, r.rel.Key, data)
	}
	return rec, nil
}

// Delete deletes the row with this key.
func (r *Repo[T, K]) Delete(ctx context.Context, key K) error {
	place := r.table.Row(key).Place()
	return fault.Wrap(ctx, r.rel, "delete", fault.Describe(place), r.delete(ctx, place))
}

func (r *Repo[T, K]) delete(ctx context.Context, at model.Place) error {
	data, err := at.Data(nil)
	if err != nil {
		return err
	}
	key := column.Lookup(data)
	unlock, err := r.lock(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := r.row(data, key); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rows, key)
	return nil
}

// lock makes writers of one row take turns, as its lock does in the database, for as long as change runs.
func (r *Repo[T, K]) lock(ctx context.Context, key any) (unlock func(), err error) {
	r.mu.Lock()
	turn := r.locks[key]
	if turn == nil {
		turn = make(chan struct{}, 1)
		r.locks[key] = turn
	}
	r.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func field(rel *model.Relation, rec any, c int) reflect.Value {
	return reflect.ValueOf(rec).Elem().FieldByIndex(rel.Columns[c].Path())
}

var errText = errors.New("no text in PostgreSQL holds a NUL byte or what is not UTF-8")

// storable refuses values that the server would refuse, whether they are stored or asked for.
func storable(data []model.Datum) error {
	for _, d := range data {
		if d.Kind == model.Text && !validText(d.Text) {
			return errText
		}
	}
	return nil
}

func storableRecord(rel *model.Relation, rec any) error {
	for i := range rel.Columns {
		v, err := column.Of(rel, rec, i)
		if err != nil {
			return err
		}
		if s, ok := v.(string); ok && !validText(s) {
			return errText
		}
	}
	return nil
}

func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

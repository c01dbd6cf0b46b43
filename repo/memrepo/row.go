package memrepo

import (
	"context"
	"reflect"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

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
	scope, err := r.scopeOf(ctx)
	if err != nil {
		return none, err
	}
	key := r.lookupAt(scope, data)
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

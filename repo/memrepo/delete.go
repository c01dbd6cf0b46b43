package memrepo

import (
	"context"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

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
	scope, err := r.scopeOf(ctx)
	if err != nil {
		return err
	}
	key := r.lookupAt(scope, data)
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

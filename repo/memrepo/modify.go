package memrepo

import (
	"context"
	"slices"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
)

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
		case i == r.rel.Scope:
			return *before, fault.ErrLeavesScope
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
	err := r.enter(ctx, &rec)
	var key []model.Datum
	if err == nil {
		key, err = r.rel.Key.Of(nil, &rec)
	}
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

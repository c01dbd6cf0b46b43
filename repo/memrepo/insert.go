package memrepo

import (
	"context"
	"errors"

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
	if err := r.enter(ctx, &rec); err != nil {
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

// enter gives a record the scope of ctx, and refuses one of another.
func (r *Repo[T, K]) enter(ctx context.Context, rec *T) error {
	if r.rel.Scope < 0 {
		return nil
	}
	scope, err := r.scopeOf(ctx)
	if err != nil {
		return err
	}
	return r.rel.PutScope(rec, scope)
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

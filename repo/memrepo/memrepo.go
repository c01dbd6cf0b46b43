package memrepo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
)

// Repo is a repo.Repository in a map. It may be used by several goroutines. Records that it is given and that it returns
// share no memory with those it has, as if they had been to a database.
type Repo[T any, K comparable] struct {
	table *model.Table[T, K]
	rel   *model.Relation
	keep  func(rec T) bool
	fill  func(rec *T, insert bool)
	scope func(ctx context.Context) (any, error) // nil: none

	mu    sync.Mutex
	rows  map[any]*T            // by column.Lookup of the key; a record is replaced, never written to
	last  int64                 // key that was assigned last
	locks map[any]chan struct{} // by the same: held by Modify, see lock
}

// New returns a repository with these records. It panics if Insert would refuse one.
func New[T any, K comparable](table *model.Table[T, K], recs ...T) *Repo[T, K] {
	r := &Repo[T, K]{
		table: table, rel: table.Relation(),
		keep: func(T) bool { return true },
		fill: func(*T, bool) {},
		rows: make(map[any]*T), locks: make(map[any]chan struct{}),
	}
	for _, rec := range recs {
		if _, err := r.Insert(context.Background(), rec); err != nil {
			panic(fmt.Errorf("memrepo: %w", err))
		}
	}
	return r
}

// Filter does what Spec.Filter does in the database: rows for which keep returns false do not exist, and do not count
// for unique indexes, as if these were partial. It returns r and belongs right after New. keep must not use r.
func (r *Repo[T, K]) Filter(keep func(rec T) bool) *Repo[T, K] {
	r.keep = keep
	return r
}

// Fill does what the database does to a row before it is stored: defaults where insert is true, generated columns in any
// case. It returns r; give records to Insert after it, not to New, if they need it. fill must not use r.
func (r *Repo[T, K]) Fill(fill func(rec *T, insert bool)) *Repo[T, K] {
	r.fill = fill
	return r
}

// Scope does what txhooks.Config.Scope does for a table with a Scope column: f tells the tenant of a call. It returns r and
// belongs right after New, to which no records can be given then.
func (r *Repo[T, K]) Scope(f func(ctx context.Context) (any, error)) *Repo[T, K] {
	r.scope = f
	return r
}

// scopeOf is the tenant of a call; the zero Datum if the table has none.
func (r *Repo[T, K]) scopeOf(ctx context.Context) (model.Datum, error) {
	if r.rel.Scope < 0 {
		return model.Datum{}, nil
	}
	err := errNoScope
	if r.scope != nil {
		var tenant any
		if tenant, err = r.scope(ctx); err == nil {
			return r.rel.ScopeDatum(tenant)
		}
	}
	return model.Datum{}, &model.Error{Kind: model.ErrNoScope, Table: r.rel.Name, Err: err}
}

var errNoScope = errors.New("memrepo.Repo.Scope was not given a function")

// Table returns the table that New was given.
func (r *Repo[T, K]) Table() *model.Table[T, K] { return r.table }

// copy returns a record that shares nothing with rec.
func (r *Repo[T, K]) copy(rec *T) (T, error) {
	c, err := column.Clone(r.rel, rec)
	if err != nil {
		var none T
		return none, err
	}
	r.rel.Normalize(c)
	return *c, nil
}

// lookup returns the map key of a record: its key, and its scope if the table has scopes.
func (r *Repo[T, K]) lookup(rec *T) (any, error) {
	data, err := r.rel.Key.Of(nil, rec)
	if err != nil || r.rel.Scope < 0 {
		return column.Lookup(data), err
	}
	scope, err := r.rel.ScopeOf(rec)
	return column.Lookup(append(data, scope)), err
}

// lookupAt is lookup of a key in a scope.
func (r *Repo[T, K]) lookupAt(scope model.Datum, key []model.Datum) any {
	if r.rel.Scope < 0 {
		return column.Lookup(key)
	}
	return column.Lookup(append(slices.Clip(key), scope))
}

// visible tells whether a call in a scope sees a row.
func (r *Repo[T, K]) visible(scope model.Datum, rec *T) bool {
	if r.rel.Scope >= 0 {
		if own, err := r.rel.ScopeOf(rec); err != nil || own != scope {
			return false
		}
	}
	return r.keep(*rec)
}

// at returns the rows at a place, in no order. The caller holds mu.
func (r *Repo[T, K]) at(scope model.Datum, place model.Place) ([]*T, error) {
	data, err := place.Data(nil)
	if err != nil {
		return nil, err
	}
	if model.HasNull(data) {
		return nil, nil
	}
	if err := storable(data); err != nil {
		return nil, err
	}
	if place.Access == r.rel.Key {
		if rec := r.rows[r.lookupAt(scope, data)]; rec != nil && r.keep(*rec) {
			return []*T{rec}, nil
		}
		return nil, nil
	}
	asked := column.Lookup(data)
	var found []*T
	for _, rec := range r.rows {
		of, err := place.Access.Of(nil, rec)
		if err != nil {
			return nil, err
		}
		if column.Lookup(of) == asked && r.visible(scope, rec) {
			found = append(found, rec)
		}
	}
	return found, nil
}

// conflict returns the error for a record whose value in a unique index another one has. own is its place in rows. The
// caller holds mu.
func (r *Repo[T, K]) conflict(rec *T, own any) error {
	if !r.keep(*rec) {
		return nil
	}
	var scope model.Datum
	if r.rel.Scope >= 0 {
		var err error
		if scope, err = r.rel.ScopeOf(rec); err != nil {
			return err
		}
	}
	for _, access := range r.rel.Indexes {
		if !access.Unique {
			continue
		}
		data, err := access.Of(nil, rec)
		if err != nil {
			return err
		}
		if model.HasNull(data) {
			continue
		}
		value := column.Lookup(data)
		for key, other := range r.rows {
			of, err := access.Of(nil, other)
			if err != nil {
				return err
			}
			if key != own && column.Lookup(of) == value && r.visible(scope, other) {
				return fault.At(model.ErrDuplicate, access, data)
			}
		}
	}
	return nil
}

var _ repo.Repository[struct{}, int] = (*Repo[struct{}, int])(nil)

package repo

import (
	"context"
	"errors"

	"github.com/asidego/aside/model"
)

// FindManyBy is FindMany by a unique index: the rows that exist, in the order of values; a value given twice gives its
// row twice. A Finder that has a method FindEach(ctx, []model.One[T]) ([]T, error), as *SQL has and what cachedrepo.Wrap
// returns, is called once; another answers one value after the other.
//
// It is a function because an interface that is implemented outside cannot grow.
func FindManyBy[T any, K comparable, V any](ctx context.Context, f Finder[T, K], by *model.Unique[T, V], values []V) ([]T, error) {
	at := make([]model.One[T], len(values))
	for i, v := range values {
		at[i] = by.Eq(v)
	}
	if each, ok := f.(interface {
		FindEach(ctx context.Context, at []model.One[T]) ([]T, error)
	}); ok {
		return each.FindEach(ctx, at)
	}
	recs := make([]T, 0, len(at))
	for _, one := range at {
		rec, err := f.FindBy(ctx, one)
		if errors.Is(err, model.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		recs = append(recs, rec)
	}
	return recs, nil
}

package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/asidego/aside/model"
)

// FindMany answers what it can from one look at the store and asks the database for the rest with one call of the plain
// repository.
func (w *cached[T, K]) FindMany(ctx context.Context, keys []K) ([]T, error) {
	places := make([]model.Place, len(keys))
	for i, key := range keys {
		places[i] = w.acc.Place(key)
	}
	return w.many(ctx, w.acc, places, func(ctx context.Context, at []int) ([]T, error) {
		return w.plain.FindMany(ctx, pick(keys, at))
	}, func(ctx context.Context, at int) (T, error) {
		return w.plain.Find(ctx, keys[at])
	}, func() { keys = slices.Clone(keys) })
}

// FindEach is FindMany at keys or at values of one unique index; repo.FindManyBy calls it.
func (w *cached[T, K]) FindEach(ctx context.Context, at []model.One[T]) ([]T, error) {
	if len(at) == 0 {
		return nil, nil
	}
	acc, err := w.c.access(at[0].Place())
	if err != nil {
		return nil, err
	}
	places := make([]model.Place, len(at))
	for i, one := range at {
		places[i] = one.Place()
		if places[i].Access != acc.Access {
			return nil, fmt.Errorf("aside: %s: the values are of several indexes", w.name)
		}
	}
	plain, ok := w.plain.(interface {
		FindEach(ctx context.Context, at []model.One[T]) ([]T, error)
	})
	return w.many(ctx, acc, places, func(ctx context.Context, some []int) (recs []T, err error) {
		if ok {
			return plain.FindEach(ctx, pick(at, some))
		}
		for _, i := range some {
			rec, err := w.plain.FindBy(ctx, at[i])
			if errors.Is(err, model.ErrNotFound) {
				continue
			}
			if err != nil {
				return nil, err
			}
			recs = append(recs, rec)
		}
		return recs, nil
	}, func(ctx context.Context, i int) (T, error) {
		return w.plain.FindBy(ctx, at[i])
	}, func() { at = slices.Clone(at) })
}

func pick[E any](from []E, at []int) []E {
	picked := make([]E, len(at))
	for i, j := range at {
		picked[i] = from[j]
	}
	return picked
}

// many is FindMany and FindEach. own copies what query and one read from: a load may outlive the call, whose caller may
// then use the slice for something else.
func (w *cached[T, K]) many(
	ctx context.Context, acc *access, places []model.Place,
	query func(ctx context.Context, at []int) ([]T, error),
	one func(ctx context.Context, at int) (T, error),
	own func(),
) ([]T, error) {
	if err := w.c.db.Outer(ctx); err != nil {
		return nil, fmt.Errorf("%s: %w", w.name, err)
	}
	if _, err := w.c.db.Scope(ctx, acc.table.rel); err != nil {
		return nil, err
	}
	if len(places) == 0 || w.c.direct(ctx, acc) {
		all := make([]int, len(places))
		for i := range all {
			all[i] = i
		}
		recs, err := query(ctx, all)
		for i := range recs {
			acc.table.rel.Normalize(&recs[i])
		}
		return recs, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	start := w.c.now()
	b := &batch[T]{c: w.c, name: w.name, acc: acc, query: query, load: newFlight(ctx), items: make([]*item[T], 0, len(places))}
	byKey := make(map[string]*item[T], len(places))
	order := make([]*item[T], len(places)) // nil: nothing is found by this key
	items := make([]item[T], len(places))
	for i, at := range places {
		next := &items[i]
		ok, err := w.c.prepare(ctx, &next.read, w.name, acc, at, nil)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		it := byKey[next.key]
		if it == nil {
			it, next.index = next, i
			byKey[it.key] = it
			b.items = append(b.items, it)
		} else {
			b.loads(it, one) // for the case that it cannot be copied
		}
		order[i] = it
	}
	started := false
	defer func() { // also if the store panics: others may have found the leases, and joined
		if !started {
			b.giveUp()
		}
	}()
	hits := b.fromStore(ctx)
	if hits < len(b.items) {
		own()
	}
	for _, it := range b.items {
		if !it.answered() {
			b.loads(it, one)
		}
	}
	started = true
	if err := b.rest(ctx); err != nil {
		return nil, err
	}
	w.c.observe(ctx, w.name, hits == len(b.items), start)
	return b.answer(ctx, order)
}

// loads tells an item how it is loaded alone.
func (b *batch[T]) loads(it *item[T], one func(ctx context.Context, at int) (T, error)) {
	it.load = func(ctx context.Context) (any, error) {
		rec, err := one(ctx, it.index)
		return &rec, err
	}
}

// answer puts the rows in the order of the keys. A key that stands there twice has its row decoded twice.
func (b *batch[T]) answer(ctx context.Context, order []*item[T]) ([]T, error) {
	recs := make([]T, 0, len(order))
	for _, it := range order {
		if it == nil || !it.found {
			continue
		}
		rec := it.rec
		if it.given && !it.acc.table.rel.Immutable {
			var own T
			payload, err := it.acc.table.codec.encode(&it.rec)
			if err == nil {
				err = it.acc.table.codec.decode(payload, &own)
			}
			if err != nil {
				loaded, err := it.loadOnce(ctx, false)
				if errors.Is(err, model.ErrNotFound) {
					continue
				}
				if err != nil {
					return nil, err
				}
				own = *loaded.(*T)
			}
			rec = own
		}
		it.given = true
		recs = append(recs, rec)
	}
	return recs, nil
}

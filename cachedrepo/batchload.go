package cachedrepo

import (
	"context"
	"errors"
	"fmt"

	"github.com/asidego/aside/internal/faultpoint"
	"github.com/asidego/aside/model"
)

// loadRest loads items with one call of the plain repository, on a flight that others may join by the leases.
func (b *batch[T]) loadRest(ctx context.Context, items []*item[T]) error {
	if len(items) == 0 {
		b.load.cancel()
		return nil
	}
	loaded := make([]result, len(items)) // the load's own, as entries are: the caller may be gone when it ends
	entries := make([][]byte, len(items))
	b.c.flights.start(b.load, func(ctx context.Context) *result {
		faultpoint.At(faultpoint.AfterAcquire)
		err := b.loadAll(ctx, items, loaded)
		for i, it := range items {
			if err == nil && it.lease != nil && !it.alone {
				entries[i] = it.entry(ctx, &loaded[i], it.epoch) // here, as a user's type may panic
			}
		}
		return &result{err: err}
	}, func(ctx context.Context) {
		b.land(ctx, items, loaded, entries)
	})
	res, err := b.c.flights.await(ctx, b.load)
	if err != nil {
		return err
	}
	items[0].left = b.left
	items[0].linger(ctx, b.load)
	if res.err != nil {
		return res.err
	}
	for i, it := range items {
		from := &loaded[i]
		if it.lease != nil {
			<-it.lease.done // it follows the load at once
			from = &it.lease.result
		}
		err := from.into(it.acc.table, &it.rec)
		if errors.Is(err, errOwnOnly) {
			var rec any
			if rec, err = it.loadOnce(ctx, false); err == nil {
				it.rec = *rec.(*T)
			}
		}
		if err := it.settle(err); err != nil {
			return err
		}
	}
	return nil
}

// land hands what was loaded to those who joined by a lease, and to the store.
func (b *batch[T]) land(ctx context.Context, items []*item[T], loaded []result, entries [][]byte) {
	var settlements []settlement
	for i, it := range items {
		if it.lease == nil {
			continue
		}
		res := &it.lease.result
		if res.err = b.load.result.err; res.err == nil {
			res.set(&loaded[i])
		} else {
			entries[i] = nil
		}
		close(it.lease.done)
		settlements = append(settlements, settlement{it.key, it.lease.token, entries[i], b.c.opts.life(res.err), it.lease.leased})
	}
	b.c.settle(ctx, settlements)
	for _, it := range items {
		if it.lease != nil {
			b.c.flights.forget(it.lease)
		}
	}
	b.load.cancel()
	close(b.load.stored)
}

// loadAll asks the plain repository and finds for each item its row by the row's own key. A row that nobody asked for, as
// the bytes go, was found by an equality of SQL that is wider: then the keys that seem to have no row are asked for one by
// one, and nothing is stored for them. Taking them for absent would be a wrong answer, and storing it a lasting one.
func (b *batch[T]) loadAll(ctx context.Context, items []*item[T], loaded []result) error {
	b.c.stats.loads.Add(1)
	asked, keys := make([]int, len(items)), make([]string, len(items))
	index := make(map[string]int, len(items))
	unmarked := true
	for i, it := range items {
		asked[i], keys[i] = it.index, it.key
		index[it.key] = i
		unmarked = unmarked && it.lease != nil && it.unmarked
	}
	recs, err := anywhere(ctx, b.c.runtime, unmarked, func(ctx context.Context) ([]T, error) {
		return b.query(ctx, asked)
	}, func(error) bool { return false }, keys...)
	if err != nil {
		b.c.loadFailed(ctx)
		return err
	}
	strangers := false
	for i := range recs {
		rec := &recs[i]
		b.acc.table.rel.Normalize(rec)
		data, err := b.acc.valueOf(nil, rec)
		if err != nil {
			return err
		}
		at, ok := index[b.acc.key(data)]
		if !ok || loaded[at].rec != nil { // or found twice: once for a key that is spelled otherwise
			strangers = true
			continue
		}
		loaded[at].rec = rec
	}
	for i, it := range items {
		switch {
		case loaded[i].rec != nil:
		case strangers:
			it.alone = true
			rec, err := it.loadOnce(ctx, false)
			if err != nil && !errors.Is(err, model.ErrNotFound) && b.c.opts.absenceOf(err) == present {
				return fmt.Errorf("aside: %s: %w", b.name, err)
			}
			loaded[i].rec, loaded[i].err = rec, err
		default:
			loaded[i].err = b.c.opts.absent(it.at, 0)
		}
		loaded[i].absence = b.c.opts.absenceOf(loaded[i].err)
	}
	return nil
}

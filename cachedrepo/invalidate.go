package cachedrepo

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

var _ txhooks.Subscriber = (*runtime)(nil)

// Ended ends the entries of all rows that a transaction changed, under every key that they have or had, before the call
// that committed it returns. It implements txhooks.Subscriber.
func (rt *runtime) Ended(ctx context.Context, o txhooks.Outcome, changes txhooks.Changes) (pending int) {
	w := rt.strict.end(changes.ID())
	switch o {
	case txhooks.RolledBack:
		if w != nil {
			w.withdraw(ctx)
		}
		return 0
	case txhooks.InDoubt:
		rt.stats.inDoubt.Add(1)
		if w != nil {
			w.leave()
		}
	}
	entered, late := rt.stats.registered.Load(), rt.registry.late()
	if w != nil && o == txhooks.Committed {
		pending = w.release(ctx)
	} else {
		pending = rt.drop(ctx, protocol.Mode{Strict: w != nil}, o, changes)
	}
	rt.unread(ctx, changes)
	rt.auditor.committed(changes)
	// What it was before counts too: while the invalidations were under way the process may have registered anew.
	late = late || rt.registry.late() || rt.stats.registered.Load() != entered
	if !rt.registry.settled(ctx) {
		pending += changes.Len()
	} else if late {
		// Others took this process for dead. If it arms no marks and they read replicas, one of them may have stored since the
		// invalidation what a replica that lagged still had. By now they know.
		pending = rt.drop(ctx, protocol.Mode{}, txhooks.Committed, changes)
	}
	return pending
}

// drop is what follows where nothing is released: in default mode, and in doubt.
func (rt *runtime) drop(ctx context.Context, m protocol.Mode, o txhooks.Outcome, changes txhooks.Changes) (pending int) {
	for _, step := range protocol.After(m, o) {
		switch step {
		case protocol.InvalidateAgain:
			rt.again(ctx, changes)
		case protocol.Invalidate:
			for keys := range rt.keysOf(ctx, changes) {
				pending = rt.nodes.invalidate(ctx, keys)
			}
		}
	}
	return pending
}

// keysOf yields the keys of the images, chunk by chunk; the slice is good until the next. All keys of a large transaction
// would be far more than the rows that any cache holds, so they are never in memory at once, and a key is left out as
// already seen within one chunk only. To invalidate one twice is no mistake.
func (rt *runtime) keysOf(ctx context.Context, changes txhooks.Changes) iter.Seq[[]string] {
	return func(yield func([]string) bool) {
		var keys []string
		for ops := range rt.opsOf(changes, invalidation, func(rel *model.Relation) { rt.foreign(ctx, rel) }) {
			keys = keys[:0]
			for i := range ops {
				keys = append(keys, ops[i].Key)
			}
			if !yield(keys) {
				return
			}
		}
	}
}

// opsOf is keysOf with an operation on each key: what, with the key put in. Tables for which what returns false are left
// out, and unknown, if not nil, is told of those that are not in Config.Tables. Two calls with the same what yield the same
// chunks.
func (rt *runtime) opsOf(changes txhooks.Changes, what func(t *table) (store.Op, bool), unknown func(rel *model.Relation)) iter.Seq[[]store.Op] {
	return func(yield func([]store.Op) bool) {
		n := min(chunk, 4*changes.Len())
		ops, seen := make([]store.Op, 0, n), make(map[string]struct{}, n)
		var buf [4]model.Datum
		for ch := range changes.All() {
			t := rt.tables[ch.Relation]
			if t == nil {
				if unknown != nil {
					unknown(ch.Relation)
				}
				continue
			}
			op, ok := what(t)
			if !ok {
				continue
			}
			if len(ops)+2*len(t.accesses) > chunk { // what a row was and is belongs together: most keys are in both
				if !yield(ops) {
					return
				}
				ops = ops[:0]
				clear(seen)
			}
			for _, a := range t.accesses {
				for _, img := range [2]model.Image{ch.Before, ch.After} {
					if img == nil {
						continue
					}
					data := a.valueOfImage(buf[:0], img)
					if model.HasNull(data) {
						continue
					}
					op.Key = a.key(data)
					if _, ok := seen[op.Key]; ok {
						continue
					}
					seen[op.Key] = struct{}{}
					ops = append(ops, op)
				}
			}
		}
		if len(ops) > 0 {
			yield(ops)
		}
	}
}

func invalidation(*table) (store.Op, bool) { return store.Op{Kind: store.Invalidate}, true }

func (rt *runtime) foreign(ctx context.Context, rel *model.Relation) {
	rt.stats.unknown.Add(1)
	if rt.nodes.first("table " + rel.Name) {
		rt.cfg.Logger.WarnContext(ctx, "aside: a table that was written to is not in cachedrepo.Config.Tables", "table", rel.Name)
	}
}

// unread deals with changes that cannot be read back from their temporary file: nobody knows which keys they have. As
// with more pending keys than can be kept, this process stays away from the store until everything that is there now has
// ended.
func (rt *runtime) unread(ctx context.Context, changes txhooks.Changes) {
	err := changes.Err()
	if err == nil {
		return
	}
	rt.stats.unread.Add(1)
	rt.nodes.distrustAll()
	for _, rel := range changes.Tables() {
		if rt.tables[rel] != nil {
			rt.trouble(ctx, "enumerate "+rel.Name, fmt.Errorf("aside: table %s: some of its changed rows are not known: %w", rel.Name, err))
		}
	}
}

// again repeats the invalidation after a COMMIT whose answer was lost. Once is not enough: the server may commit after
// the first, and a reader may have stored the old row in between (history 6). How much later it may commit nobody
// knows; what commits after the last of these stays stale for a TTL.
//
// The keys are made anew each time, from changes that stay in their file: a process that loses its database in the midst
// of many large transactions must not keep all their keys for a minute.
func (rt *runtime) again(ctx context.Context, changes txhooks.Changes) {
	ctx = context.WithoutCancel(ctx)
	for _, after := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		release := changes.Keep()
		rt.nodes.later(after, rt.keysOf(ctx, changes), func() {
			rt.unread(ctx, changes)
			release()
		})
	}
}

// Invalidate drops what depends on refs, after a write that nobody reported: the entries at refs, and those of the rows
// that are there now, under all their keys. Entries under values that such a row had before end with their TTL. It reads
// and locks these rows in a transaction, its own or that of ctx, and fails only if that fails.
func (c *Cache) Invalidate(ctx context.Context, refs ...model.Ref) error {
	if err := checkRefs(refs); err != nil {
		return fmt.Errorf("aside: Invalidate: %w", err)
	}
	var keys []string
	for _, ref := range refs {
		at := ref.Place()
		a := c.accesses[at.Access]
		if a == nil {
			continue // a plain index or the whole table: its rows have the entries
		}
		data, err := c.valueAt(ctx, nil, a, at)
		if err != nil {
			return err
		}
		if !model.HasNull(data) {
			keys = append(keys, a.key(data))
		}
	}
	return c.db.Run(ctx, func(ctx context.Context) error {
		// After the commit of the transaction that we may be part of: before it, a reader would store the old row again.
		txhooks.AfterCommit(ctx, func(ctx context.Context) { c.nodes.invalidate(ctx, keys) })
		return txhooks.Touch(ctx, refs...)
	})
}

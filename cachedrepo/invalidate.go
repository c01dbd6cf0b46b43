package cachedrepo

import (
	"context"
	"fmt"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

var _ txhooks.Subscriber = (*runtime)(nil)

// Ended ends the entries of all rows that a transaction changed, under every key that they have or had, before the call
// that committed it returns. It implements txhooks.Subscriber.
func (rt *runtime) Ended(ctx context.Context, o txhooks.Outcome, changes txhooks.Changes) (pending int) {
	if o == txhooks.RolledBack {
		return 0
	}
	keys := rt.keysOf(ctx, changes)
	if o == txhooks.InDoubt {
		rt.stats.inDoubt.Add(1)
		rt.again(keys)
	}
	if len(keys) == 0 {
		return 0
	}
	return rt.node.invalidate(ctx, keys)
}

// keysOf lists the keys of the images, each once.
func (rt *runtime) keysOf(ctx context.Context, changes txhooks.Changes) []string {
	var keys []string
	seen := make(map[string]bool, 2*changes.Len())
	var buf [4]model.Datum
	for ch := range changes.All() {
		t := rt.tables[ch.Relation]
		if t == nil {
			rt.stats.unknown.Add(1)
			if rt.node.first("table " + ch.Relation.Name) {
				rt.cfg.Logger.WarnContext(ctx, "aside: a table that was written to is not in cachedrepo.Config.Tables", "table", ch.Relation.Name)
			}
			continue
		}
		for _, a := range t.accesses {
			for _, img := range [2]model.Image{ch.Before, ch.After} {
				if img == nil {
					continue
				}
				data := a.OfImage(buf[:0], img)
				if model.HasNull(data) {
					continue
				}
				if k := a.key(data); !seen[k] {
					seen[k] = true
					keys = append(keys, k)
				}
			}
		}
	}
	return keys
}

// again repeats the invalidation after a COMMIT whose answer was lost. Once is not enough: the server may commit after
// the first, and a reader may have stored the old row in between (history 6). How much later it may commit nobody
// knows; what commits after the last of these stays stale for a TTL.
func (rt *runtime) again(keys []string) {
	for _, after := range []time.Duration{time.Second, 10 * time.Second, time.Minute} {
		rt.node.later(after, keys)
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
		data, err := at.Data(nil)
		if err != nil {
			return err
		}
		if !model.HasNull(data) {
			keys = append(keys, a.key(data))
		}
	}
	return c.db.Run(ctx, func(ctx context.Context) error {
		// After the commit of the transaction that we may be part of: before it, a reader would store the old row again.
		txhooks.AfterCommit(ctx, func(ctx context.Context) { c.node.invalidate(ctx, keys) })
		return txhooks.Touch(ctx, refs...)
	})
}

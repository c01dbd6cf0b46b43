package cachedrepo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
)

// confirmAfter is how long a writer may take from its commit to its invalidation before an entry counts as wrong.
const confirmAfter = 200 * time.Millisecond

// Audit compares every entry of tables, or of all tables of c if none is given, with the database, and returns how many it
// compared and which are wrong: those that say something else than the row, and still do a moment later. Entries whose key
// holds a hash in the place of a value are compared unless they say that there is no such row.
//
// It reads the row of each entry with a statement of its own: that is for tests, and for caches that are small. In
// production Config.Audit compares a sample. The store must be a store.Scanner, as those of this module are. Call it outside
// of transactions.
func (c *Cache) Audit(ctx context.Context, tables ...interface{ Relation() *model.Relation }) (compared int, wrong []WrongEntry, err error) {
	scanner, ok := c.store.(store.Scanner)
	if !ok {
		return 0, nil, fmt.Errorf("aside: Audit: a %T cannot list its keys", c.store)
	}
	var only []*table
	for _, t := range tables {
		rel := t.Relation()
		known := c.tables[rel]
		if known == nil {
			return 0, nil, fmt.Errorf("aside: Audit: table %s is not in cachedrepo.Config.Tables", rel.Name)
		}
		only = append(only, known)
	}
	if len(only) == 0 {
		for _, t := range c.tables {
			only = append(only, t)
		}
	}
	seen := make(map[string]bool)
	var suspects []*inspection
	for _, t := range only {
		err := scanner.Scan(ctx, tablePrefix(c.cfg.Namespace, t.rel), func(keys []string) error {
			for _, key := range keys {
				acc := t.accessOf(key)
				if acc == nil || seen[key] {
					continue
				}
				seen[key] = true
				i := &inspection{acc: acc, key: key}
				if err := c.inspect(ctx, i); err != nil {
					return err
				}
				if i.value != nil {
					compared++
				}
				if i.wrong != nil {
					suspects = append(suspects, i)
				}
			}
			return nil
		})
		if err != nil {
			return compared, nil, fmt.Errorf("aside: Audit: %w", err)
		}
	}
	if len(suspects) == 0 {
		return compared, nil, nil
	}
	select {
	case <-time.After(confirmAfter):
	case <-ctx.Done():
		return compared, nil, ctx.Err()
	}
	for _, i := range suspects {
		w, err := c.confirm(ctx, i)
		if err != nil {
			return compared, nil, fmt.Errorf("aside: Audit: %w", err)
		}
		if w != nil {
			wrong = append(wrong, *w)
		}
	}
	slices.SortFunc(wrong, func(a, b WrongEntry) int { return strings.Compare(a.Key, b.Key) })
	return compared, wrong, nil
}

// accessOf finds the index that a key belongs to.
func (t *table) accessOf(key string) *access {
	for _, a := range t.accesses {
		if strings.HasPrefix(key, a.prefix) {
			return a
		}
	}
	return nil
}

// Drop ends entries that Audit found wrong.
func (c *Cache) Drop(ctx context.Context, entries ...WrongEntry) {
	keys := make([]string, len(entries))
	for i, w := range entries {
		keys[i] = w.Key
	}
	c.nodes.invalidate(ctx, keys)
}

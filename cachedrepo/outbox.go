package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// What follows is what a Cache is to package outbox: somebody who is told of transactions that others have made, or whose
// writer died before it could tell. outbox.Start calls it; nobody else needs to.

// Namespace is Config.Namespace, with Config.Generation if there is one: the name of c among an outbox's consumers.
func (c *Cache) Namespace() string { return c.cfg.Namespace }

// Declares lists the keys and unique indexes that c invalidates, each with all that decides how its cache keys are spelled.
// Two processes that declare the same can do each other's work. No process can do that of one whose store is in its memory.
func (c *Cache) Declares() []string {
	private := ""
	if s, ok := c.store.(store.Private); ok {
		private = " in memory " + s.Private()
	}
	var all []string
	for _, a := range c.accesses {
		all = append(all, a.spelling()+private)
	}
	slices.Sort(all)
	return all
}

// Relations are those of Config.Tables.
func (c *Cache) Relations() []*model.Relation {
	var all []*model.Relation
	for rel := range c.tables {
		all = append(all, rel)
	}
	slices.SortFunc(all, func(a, b *model.Relation) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return all
}

// Deliver ends the entries of all rows that transactions changed, which have been committed, perhaps by other processes. It
// can be repeated, and may come late. Nothing is kept pending: if it fails, call it again. Its error has a method Away, which
// returns true, if the store is why.
//
// What it sends is the careful post step of protocol.md: an intent that one of these very transactions left at a strict key is
// released under the transaction's ID, everybody else's stay. What a trigger wrote down has no ID, and left none.
func (c *Cache) Deliver(ctx context.Context, transactions ...txhooks.Changes) error {
	var batch []store.Op
	for _, changes := range transactions {
		post := func(t *table) (store.Op, bool) {
			if t.rel.Strict && changes.ID() != (txhooks.ID{}) {
				return store.Op{Kind: last(protocol.Relayed(strictly)), Token: store.Token(changes.ID())}, true
			}
			return invalidation(t)
		}
		for ops := range c.opsOf(changes, post, func(rel *model.Relation) { c.foreign(ctx, rel) }) {
			if len(batch)+len(ops) > chunk {
				if err := c.nodes.deliver(ctx, batch); err != nil {
					return err
				}
				batch = batch[:0]
			}
			batch = append(batch, ops...)
		}
		if err := changes.Err(); err != nil {
			return err
		}
	}
	return c.nodes.deliver(ctx, batch)
}

// RetireIndexes is Retire for keys and unique indexes of which nobody can say which entries have become old; without any,
// for all of c. Indexes that are not c's, and those that are not unique, have no entries.
func (c *Cache) RetireIndexes(ctx context.Context, indexes ...*model.Access) error {
	scanner, ok := c.store.(store.Scanner)
	if !ok {
		return fmt.Errorf("aside: a %T cannot list its keys", c.store)
	}
	var prefixes []string
	for _, x := range indexes {
		if a := c.accesses[x]; a != nil {
			prefixes = append(prefixes, a.prefix)
		}
	}
	if len(indexes) == 0 {
		prefixes = c.prefixes(nil)
	}
	if len(prefixes) == 0 {
		return nil
	}
	if _, err := c.nodes.retire(ctx, scanner, prefixes); err != nil {
		return awayError{fmt.Errorf("aside: retire: %w", err)}
	}
	return nil
}

// awayError is an error of the store.
type awayError struct{ error }

func (e awayError) Away() bool    { return true }
func (e awayError) Unwrap() error { return e.error }

// deliver sends ops and keeps nothing: who calls it has them written down. A server that is known to be away is not asked,
// but for the probes that it gets anyway.
func (n *nodes) deliver(ctx context.Context, ops []store.Op) error {
	if len(ops) == 0 {
		return nil
	}
	groups := split(n, ops, keyOf)
	errs := make(chan error, len(groups))
	together(groups, func(g group[store.Op]) {
		if g.at.distrust.Load() {
			errs <- errAway
			return
		}
		_, err := n.send(ctx, g.at, "invalidate", g.of)
		if err == nil {
			n.count(g.of)
		}
		errs <- err
	})
	close(errs)
	var all []error
	for err := range errs {
		all = append(all, err)
	}
	if err := errors.Join(all...); err != nil {
		return awayError{err}
	}
	return nil
}

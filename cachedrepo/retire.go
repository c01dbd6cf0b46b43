package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
)

// lose is called when keys cannot be kept that must not be read: what cannot be remembered one by one is remembered as a
// whole. Until it is over no server is trusted. n.mu is held.
//
// It is over when all entries have been retired after the last such event, or, with a store that cannot list its keys, when
// none of them can live any more, nor one that is filled under a lease of today.
func (n *nodes) lose() {
	n.losses++
	n.overflow = time.Now().Add(n.rt.longestLife())
	n.unsure.Store(true)
	if !n.regains && !n.closed {
		n.regains = true
		n.start(n.regain)
	}
}

// distrustAll has this process stay away from the store until everything that is there now has ended or was retired.
func (n *nodes) distrustAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lose()
}

// overflowed tells whether keys were lost. n.mu is held.
func (n *nodes) overflowed() bool { return !n.overflow.IsZero() && time.Now().Before(n.overflow) }

// regain waits until the store can be trusted after keys were lost.
func (n *nodes) regain() {
	scanner, scans := n.rt.store.(store.Scanner)
	pause := firstProbe
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.ctx.Done():
			return
		}
		// Not while a server is away: what the others have would be retired again and again, for the other processes too.
		if losses, well := n.lost(); scans && well {
			if _, err := n.retire(n.ctx, scanner, n.rt.prefixes(nil)); err == nil {
				n.regained(losses)
			} else if n.ctx.Err() == nil {
				n.rt.trouble(n.ctx, "retire", err)
			}
		}
		n.mu.Lock()
		if !n.overflowed() {
			n.overflow, n.regains = time.Time{}, false
			n.judge()
			n.mu.Unlock()
			return
		}
		n.mu.Unlock()
		timer.Reset(pause)
		pause = min(2*pause, lastProbe)
	}
}

// lost returns how often keys were lost, and whether all servers answer and have been told what was kept.
func (n *nodes) lost() (losses uint64, well bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, at := range n.byName {
		if at.distrust.Load() {
			return n.losses, false
		}
	}
	return n.losses, len(n.pending)+len(n.sending) == 0
}

// regained ends the distrust if no keys were lost since losses were counted: the list of keys may be older than those.
func (n *nodes) regained(losses uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.losses == losses {
		n.overflow = time.Time{}
	}
}

// Retire ends all entries of tables, or of all tables of c if none is given, whoever stored them: after a TRUNCATE, a
// change of the schema, a restore, or a time in which somebody wrote who does not invalidate. Call it after the commit. It
// returns how many entries and leases it ended, and an error if it could not come to its end: then call it again.
//
// It lists the keys and ends them one after the other, so it takes about a second for a million of them, and until then
// reads find what it has not come to. When it returns without an error, nothing can be found any more that was loaded
// before the call: who was loading then held a lease, which is a key that was listed and ended like the others.
// Writers' tokens stay. The store must be a store.Scanner, as those of this module are.
func (c *Cache) Retire(ctx context.Context, tables ...interface{ Relation() *model.Relation }) (int, error) {
	scanner, ok := c.store.(store.Scanner)
	if !ok {
		return 0, fmt.Errorf("aside: Retire: a %T cannot list its keys", c.store)
	}
	var only []*table
	for _, t := range tables {
		rel := t.Relation()
		known := c.tables[rel]
		if known == nil {
			return 0, fmt.Errorf("aside: Retire: table %s is not in cachedrepo.Config.Tables", rel.Name)
		}
		only = append(only, known)
	}
	n, err := c.nodes.retire(ctx, scanner, c.prefixes(only))
	if err != nil {
		return n, fmt.Errorf("aside: Retire: %w", err)
	}
	return n, nil
}

// prefixes are those of all keys of tables; of all tables if there are none.
func (rt *runtime) prefixes(tables []*table) (prefixes []string) {
	for _, t := range rt.tables {
		if len(tables) == 0 {
			prefixes = append(prefixes, tablePrefix(rt.cfg.Namespace, t.rel))
		}
	}
	for _, t := range tables {
		prefixes = append(prefixes, tablePrefix(rt.cfg.Namespace, t.rel))
	}
	return prefixes
}

// retire invalidates, page by page, what the store lists under prefixes. A Cluster whose slots are on their way says so;
// nobody else knows better.
//
// A key that is not listed gets no mark, and a replica may not have yet what was written before the call. Once MaxLag has
// passed, those that are read have it.
func (n *nodes) retire(ctx context.Context, s store.Scanner, prefixes []string) (retired int, err error) {
	if lag := n.rt.cfg.Replicas.MaxLag; lag > 0 {
		timer := time.NewTimer(lag)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	under := n.rt.cfg.Namespace + ":"
	if len(prefixes) == 1 {
		under = prefixes[0]
	}
	err = s.Scan(ctx, under, func(keys []string) error {
		ours := keys[:0:0]
		for _, k := range keys {
			for _, p := range prefixes {
				if strings.HasPrefix(k, p) {
					ours = append(ours, k)
					break
				}
			}
		}
		if len(ours) == 0 {
			return nil
		}
		groups := split(n, ours, itself)
		errs := make([]error, len(groups))
		at := make(map[*node]int, len(groups))
		for i, g := range groups {
			at[g.at] = i
		}
		together(groups, func(g group[string]) {
			for keys := g.of; len(keys) > 0; {
				part := keys[:min(chunk, len(keys))]
				if _, err := n.send(ctx, g.at, "invalidate", invalidations(part)); err != nil {
					errs[at[g.at]] = err
					return
				}
				keys = keys[len(part):]
			}
		})
		if err := errors.Join(errs...); err != nil {
			return err
		}
		retired += len(ours)
		n.rt.stats.invalidated.Add(uint64(len(ours)))
		return nil
	})
	return retired, err
}

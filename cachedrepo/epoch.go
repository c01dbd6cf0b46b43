package cachedrepo

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/asidego/aside/cachedrepo/store"
)

// The epoch of a key says whether what was stored before may still be right. It has three parts, each of which changes when
// something has forgotten what it was told:
//
//   - the server of the store that has the key: a replica that lagged was promoted, an old file was loaded (store.Epocher);
//   - the database: it lost commits, or is another one (incarnation.go);
//   - the registry: somebody wrote who did not invalidate this index (standing.go).
//
// It is taken before the lease is asked for and written with the value, so that a value which was loaded before a change and
// is stored after it carries the old one. On a hit the two are compared; what does not match is taken over like any value
// that cannot be used. No process has to be told of a change for that, nor is anything deleted. The price is that two
// processes which disagree, for the second that it takes the slower to notice, take each other's entries over.

// era is the part of the epoch that all accesses share.
type era struct {
	store    store.Epocher // nil: it forgets nothing as long as it lives
	database atomic.Uint64 // incarnation; 0: not asked for
}

// epoch is that of a key. The parts are hashes, so that their sum is one.
func (a *access) epoch(key string) uint64 {
	e := a.registered.Load() + a.era.database.Load()
	if a.era.store != nil {
		e += a.era.store.Epoch(key)
	}
	return e
}

// OnMove has f called, on a goroutine of its own, after the store or the database was found to have gone back in time:
// whatever was told to the store in the last moments before may be lost. Entries from before are not used, so that nothing
// needs to be done for them; writers' tokens are gone, and an outbox delivers again what it has delivered lately. The error is
// reported as one of the operation "replay". f replaces the func that was set before; nil: none. An outbox sets it by itself.
func (c *Cache) OnMove(f func(ctx context.Context) error) { c.onMove.Store(&f) }

// moved tells who wants to know that something has gone back in time.
func (rt *runtime) moved(what string) {
	rt.stats.moved.Add(1)
	rt.cfg.Logger.Warn("aside: what was cached before is not used any more", "moved", what)
	f := rt.onMove.Load()
	if f == nil || *f == nil {
		return
	}
	n := rt.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	n.start(func() {
		if err := (*f)(n.ctx); err != nil && n.ctx.Err() == nil {
			rt.trouble(n.ctx, "replay", fmt.Errorf("aside: after %s: %w", what, err))
		}
	})
}

// learn has the store find out who its servers are, and notes which have become others. It is part of the watch.
func (n *nodes) learn() {
	rt := n.rt
	if l, ok := rt.store.(store.Learner); ok {
		ctx, cancel := context.WithTimeout(n.ctx, rt.cfg.WriteTimeout)
		err := l.Learn(ctx)
		cancel()
		if err != nil && n.ctx.Err() == nil {
			rt.trouble(n.ctx, "epoch", err)
		}
	}
	if rt.era.store == nil {
		return
	}
	type place struct {
		at  *node
		key string
	}
	n.mu.Lock()
	places := make([]place, 0, len(n.byName))
	for _, at := range n.byName {
		if at.key != "" && !at.distrust.Load() { // one that does not answer is no other yet
			places = append(places, place{at, at.key})
		}
	}
	n.mu.Unlock()
	for _, p := range places {
		if n.name(p.key) != p.at.name {
			continue
		}
		// Twice, for while nothing is known it is another number each time.
		e := rt.era.store.Epoch(p.key)
		if e != rt.era.store.Epoch(p.key) {
			continue
		}
		if was := p.at.epoch; was != nil && *was != e {
			rt.moved("a server of the store")
		}
		p.at.epoch = &e
	}
}

package txhooks

import (
	"context"
	"database/sql"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"weak"
)

// pool is what all DBs over one *sql.DB have in common.
type pool struct {
	outer outerContexts // under Config.RefuseOuter

	failures  atomic.Int64 // hooks and subscribers that panicked or ended their goroutine
	crowded   atomic.Int64 // transactions that found no room on disk
	crowdedAt sync.Once    // the first of them is logged

	mu          sync.Mutex
	subscribers []*subscription // guarded by mu; replaced, never written to
}

type subscription struct{ Subscriber }

// registry finds the pool of a *sql.DB. Both sides are weak: a pool's subscribers lead to caches, which lead to DBs,
// which lead to the *sql.DB, so that a strong value would keep its own key alive for ever. Whoever needs a pool holds it:
// DBs, open transactions, the cancel functions of Subscribe.
var registry = struct {
	sync.Mutex
	pools map[weak.Pointer[sql.DB]]weak.Pointer[pool]
}{pools: make(map[weak.Pointer[sql.DB]]weak.Pointer[pool])}

func poolOf(db *sql.DB) *pool {
	registry.Lock()
	defer registry.Unlock()
	key := weak.Make(db)
	if p := registry.pools[key].Value(); p != nil {
		return p
	}
	p := new(pool)
	value := weak.Make(p)
	registry.pools[key] = value
	runtime.AddCleanup(p, func(key weak.Pointer[sql.DB]) {
		registry.Lock()
		defer registry.Unlock()
		if registry.pools[key] == value { // not one made since
			delete(registry.pools, key)
		}
	}, key)
	return p
}

func (p *pool) subscribe(s Subscriber) (cancel func()) {
	sub := &subscription{s}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscribers = append(slices.Clip(p.subscribers), sub)
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.subscribers = slices.DeleteFunc(slices.Clone(p.subscribers), func(s *subscription) bool { return s == sub })
	}
}

func (p *pool) subscribed() []*subscription {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.subscribers
}

// unspooled notes that the changes of a transaction are kept in memory for want of a file.
func (p *pool) unspooled(ctx context.Context, log *slog.Logger, err error) {
	p.crowded.Add(1)
	p.crowdedAt.Do(func() {
		log.WarnContext(ctx, "aside: no temporary file for the changes of a large transaction: they are kept in memory", "err", err)
	})
}

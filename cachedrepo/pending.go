package cachedrepo

import (
	"context"
	"iter"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faultpoint"
)

// invalidate ends the values and leases at keys, or keeps them pending. It returns how many are pending now.
//
// The order matters: a write whose invalidation fails makes its keys pending *before* it returns, so that a read of this
// process that starts later does not ask a server that still has the old row (P1). Other processes have no reason to do
// the same until their watch finds out; for them P1 ends with the report that says "pending".
func (n *nodes) invalidate(ctx context.Context, keys []string) int {
	if len(keys) > 0 {
		together(split(n, keys, itself), func(g group[string]) {
			for keys := g.of; len(keys) > 0; {
				part := keys[:min(chunk, len(keys))]
				if !n.asked(g.at) || n.send(ctx, g.at, "invalidate", part) != nil {
					n.keep(g.at, keys)
					return
				}
				faultpoint.At(faultpoint.InPost)
				keys = keys[len(part):]
				n.rt.stats.invalidated.Add(uint64(len(part)))
			}
		})
	}
	return n.waiting()
}

func itself(key string) string { return key }

// asked tells whether an invalidation is sent at once. After close there is nobody who would send it later.
func (n *nodes) asked(at *node) bool {
	if !at.distrust.Load() {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

func (n *nodes) send(ctx context.Context, at *node, op string, keys []string) error {
	call, cancel := context.WithTimeout(ctx, n.rt.cfg.WriteTimeout)
	defer cancel()
	return n.do(call, ctx, at, op, invalidations(keys), make([]store.Reply, len(keys)))
}

func invalidations(keys []string) []store.Op {
	ops := make([]store.Op, len(keys))
	for i, k := range keys {
		ops[i] = store.Op{Kind: store.Invalidate, Key: k}
	}
	return ops
}

// keep notes keys as pending and ends the trust in the server that should have taken them, before it returns.
func (n *nodes) keep(at *node, keys []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at = n.current(at)
	at.kept.Add(1)
	for i, k := range keys {
		if _, known := n.pending[k]; known {
			continue
		}
		if n.closed {
			n.rt.stats.givenUp.Add(1)
			continue
		}
		if len(n.pending)+len(n.sending) >= n.rt.cfg.MaxPending {
			n.rt.stats.givenUp.Add(uint64(len(keys) - i))
			n.lose()
			break
		}
		n.pending[k] = struct{}{}
	}
	n.suspect(at)
}

func (n *nodes) waiting() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.pending) + len(n.sending)
}

// later invalidates the keys that parts yields once more after a while, and then calls done. If the cache is closed
// before, they are pending then: close sends them.
func (n *nodes) later(after time.Duration, parts iter.Seq[[]string], done func()) {
	n.mu.Lock()
	closed := n.closed
	if !closed {
		n.start(func() {
			defer done()
			select {
			case <-n.after(after):
				for keys := range parts {
					n.invalidate(n.ctx, keys)
				}
			case <-n.ctx.Done():
				for keys := range parts {
					n.leave(keys)
				}
			}
		})
	}
	n.mu.Unlock()
	if closed {
		done()
	}
}

// leave makes keys pending for close.
func (n *nodes) leave(keys []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		if _, known := n.pending[k]; !known && len(n.pending)+len(n.sending) >= n.rt.cfg.MaxPending {
			n.rt.stats.givenUp.Add(1)
			continue
		}
		n.pending[k] = struct{}{}
	}
}

// take moves what is pending for a server to what is being sent. A key that becomes pending again meanwhile is a new
// entry: the call that is out may reach the store before the commit that the new entry stands for.
//
// What is pending for others gets its probers here: a key may have moved to a server that nobody has had a reason to
// probe. So there is always a prober for each pending key, for each prober looks before it ends, and a key that moves after
// that moves away from a server whose prober has not ended.
func (n *nodes) take(at *node) (keys []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.only == nil {
		all := make([]string, 0, len(n.pending))
		for k := range n.pending {
			all = append(all, k)
		}
		n.mu.Unlock() // a hundred thousand questions take a while
		others := make(map[string]bool)
		for _, k := range all {
			if name := n.name(k); name == at.name {
				keys = append(keys, k)
			} else {
				others[name] = true
			}
		}
		n.mu.Lock()
		for name := range others {
			n.mend(n.named(name))
		}
		all, keys = keys, nil
		for _, k := range all {
			if _, still := n.pending[k]; still {
				keys = append(keys, k)
			}
		}
	} else {
		for k := range n.pending {
			keys = append(keys, k)
		}
	}
	for _, k := range keys {
		delete(n.pending, k)
		n.sending[k]++
	}
	return keys
}

// sent notes what became of keys that were taken.
func (n *nodes) sent(keys []string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		if n.sending[k]--; n.sending[k] <= 0 {
			delete(n.sending, k)
		}
		if err != nil {
			n.pending[k] = struct{}{}
		}
	}
	if err == nil {
		n.rt.stats.invalidated.Add(uint64(len(keys)))
		n.rt.stats.replayed.Add(uint64(len(keys)))
	}
	n.judge()
}

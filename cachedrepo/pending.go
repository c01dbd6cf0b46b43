package cachedrepo

import (
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faultpoint"
)

// invalidate ends the values and leases at keys, or keeps them pending. It returns how many are pending now.
func (n *nodes) invalidate(ctx context.Context, keys []string) int {
	return n.end(ctx, invalidations(keys), nil)
}

// end ends the values and leases at the keys of ops, which are Invalidate, or Release and Intend of a strict writer's token,
// or keeps them pending. It returns how many are pending now. heard is told the answers to each call that was answered, one
// after the other; nil: nobody.
//
// The order matters: a write whose invalidation fails makes its keys pending *before* it returns, so that a read of this
// process that starts later does not ask a server that still has the old row (P1). Other processes have no reason to do
// the same until their watch finds out; for them P1 ends with the report that says "pending".
//
// A Release that fails leaves the token, and everybody who asks the store is sent to the database until its deadline. It is
// kept pending all the same, as a Release: should the token have been lost before COMMIT, it is what ends an old row; and an
// invalidation in its place would leave the token.
func (n *nodes) end(ctx context.Context, ops []store.Op, heard func(ops []store.Op, replies []store.Reply)) int {
	if len(ops) > 0 {
		var mu sync.Mutex
		together(split(n, ops, keyOf), func(g group[store.Op]) {
			for ops := g.of; len(ops) > 0; {
				part := ops[:min(chunk, len(ops))]
				var replies []store.Reply
				err := errAway
				asked := n.asked(g.at)
				if asked {
					replies, err = n.send(ctx, g.at, "invalidate", part)
				}
				if err != nil {
					n.keep(g.at, ops, asked)
					return
				}
				faultpoint.At(faultpoint.InPost)
				ops = ops[len(part):]
				n.count(part)
				if heard != nil {
					mu.Lock()
					heard(part, replies)
					mu.Unlock()
				}
			}
		})
	}
	return n.waiting()
}

func keyOf(op store.Op) string { return op.Key }

// count counts what was done.
func (n *nodes) count(ops []store.Op) {
	var released, invalidated uint64
	for i := range ops {
		switch ops[i].Kind {
		case store.Release:
			released++
		case store.Invalidate:
			invalidated++
		}
	}
	n.rt.stats.released.Add(released)
	n.rt.stats.invalidated.Add(invalidated)
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

func (n *nodes) send(ctx context.Context, at *node, name string, ops []store.Op) ([]store.Reply, error) {
	call, cancel := context.WithTimeout(ctx, n.rt.cfg.WriteTimeout)
	defer cancel()
	replies := make([]store.Reply, len(ops))
	return replies, n.do(call, ctx, at, name, ops, replies)
}

func invalidations(keys []string) []store.Op {
	ops := make([]store.Op, len(keys))
	for i, k := range keys {
		ops[i] = store.Op{Kind: store.Invalidate, Key: k}
	}
	return ops
}

// owed is what a pending key waits for: to be invalidated, or, if there are any, that these tokens are released. A Release
// does what an Invalidate does, so that a key that owes both owes the former alone.
type owed []store.Token

// maxOwed bounds the tokens that one key owes. Those above it end with their deadline.
const maxOwed = 16

// owe notes an operation. n.mu is held.
func (n *nodes) owe(op *store.Op) {
	tokens := n.pending[op.Key]
	if op.Kind == store.Release && len(tokens) < maxOwed && !slices.Contains(tokens, op.Token) {
		tokens = append(tokens, op.Token)
	}
	n.pending[op.Key] = tokens
}

// keep notes ops as pending before it returns and, if the server was asked and did not take them, ends the trust in it. If
// it was not asked, this says nothing of the server, which may have been trusted again in between: reads of these keys find
// them pending.
func (n *nodes) keep(at *node, ops []store.Op, asked bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	at = n.current(at)
	at.kept.Add(1)
	if asked {
		at.failed.Add(1)
	}
	for i := range ops {
		_, known := n.pending[ops[i].Key]
		if !known && n.closed {
			n.rt.stats.givenUp.Add(1)
			continue
		}
		if !known && len(n.pending)+len(n.sending) >= n.rt.cfg.MaxPending {
			n.rt.stats.givenUp.Add(uint64(len(ops) - i))
			n.lose()
			break
		}
		n.owe(&ops[i])
	}
	if asked {
		n.suspect(at)
		return
	}
	n.judge()
	n.mend(at)
}

// postpone notes releases that are no more than a kindness, as many as there is room for.
func (n *nodes) postpone(at *node, ops []store.Op) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return
	}
	at = n.current(at)
	at.kept.Add(1)
	for i := range ops {
		if _, known := n.pending[ops[i].Key]; !known && len(n.pending)+len(n.sending) >= n.rt.cfg.MaxPending {
			break
		}
		n.owe(&ops[i])
	}
	n.judge()
	n.mend(at)
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
		n.owe(&store.Op{Key: k})
	}
}

// take moves what is pending for a server to what is being sent. A key that becomes pending again meanwhile is a new
// entry: the call that is out may reach the store before the commit that the new entry stands for.
//
// What is pending for others gets its probers here: a key may have moved to a server that nobody has had a reason to
// probe. So there is always a prober for each pending key, for each prober looks before it ends, and a key that moves after
// that moves away from a server whose prober has not ended.
func (n *nodes) take(at *node) (ops []store.Op) {
	var keys []string
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
		tokens := n.pending[k]
		if len(tokens) == 0 {
			ops = append(ops, store.Op{Kind: store.Invalidate, Key: k})
		}
		for _, token := range tokens {
			ops = append(ops, store.Op{Kind: store.Release, Key: k, Token: token})
		}
		n.sending[k] += max(1, len(tokens))
		delete(n.pending, k)
	}
	return ops
}

// sent notes what became of operations that were taken.
func (n *nodes) sent(ops []store.Op, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range ops {
		k := ops[i].Key
		if n.sending[k]--; n.sending[k] <= 0 {
			delete(n.sending, k)
		}
		if err != nil {
			n.owe(&ops[i])
		}
	}
	if err == nil {
		n.count(ops)
		n.rt.stats.replayed.Add(uint64(len(ops)))
	}
	n.judge()
}

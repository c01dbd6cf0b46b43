package cachedrepo

import (
	"context"
	"sync"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// broom removes marks that are over from a store that keeps them: where the server evicts keys with an expiry first, tokens
// have none, and end when somebody touches their key. An intent's key is a row's, which is touched again; a mark's key is
// touched by nobody, and there is one for every key that was ever written to.
//
// An operation that ends entries does not end tokens that are live: a mark that was armed again meanwhile stays, and is
// swept by who armed it. What a process has armed in the last seconds of its life stays for good, some 100 bytes a key.
type broom struct {
	nodes *nodes
	keeps interface{ KeepsTokens() bool } // nil: the store does not

	mu      sync.Mutex
	due     map[string]time.Time
	running bool
}

// maxSwept bounds what a broom remembers; what is armed beyond that in one life of a mark stays.
const maxSwept = 100_000

func newBroom(rt *runtime) *broom {
	b := &broom{nodes: rt.nodes, due: make(map[string]time.Time)}
	if s, ok := rt.store.(store.Keeping); ok {
		b.keeps = s
	}
	return b
}

// note remembers marks that were armed, with what came after each.
func (b *broom) note(ops []store.Op) {
	if b.keeps == nil || !b.keeps.KeepsTokens() {
		return
	}
	now := time.Now()
	b.mu.Lock()
	for i := range ops {
		if !ops[i].Always {
			continue
		}
		if _, known := b.due[ops[i].Key]; known || len(b.due) < maxSwept {
			b.due[ops[i].Key] = now.Add(ops[i].TTL + markMargin)
		}
	}
	start := !b.running && len(b.due) > 0
	b.running = b.running || start
	b.mu.Unlock()
	if start {
		b.nodes.mu.Lock()
		if !b.nodes.closed {
			b.nodes.start(b.run)
		}
		b.nodes.mu.Unlock()
	}
}

// run sweeps until nothing is left.
func (b *broom) run() {
	for {
		select {
		case <-b.nodes.after(time.Second):
		case <-b.nodes.ctx.Done():
			return
		}
		if b.sweep(b.nodes.ctx, time.Now()) {
			return
		}
	}
}

// sweep removes what is due, and tells whether that was all.
func (b *broom) sweep(ctx context.Context, now time.Time) (done bool) {
	var keys []string
	b.mu.Lock()
	for key, due := range b.due {
		if now.After(due) && len(keys) < chunk*16 {
			keys = append(keys, key)
		}
	}
	b.mu.Unlock()
	for len(keys) > 0 {
		part := keys[:min(chunk, len(keys))]
		keys = keys[len(part):]
		call, cancel := context.WithTimeout(ctx, b.nodes.rt.cfg.WriteTimeout)
		// Past the marks: these are no entries.
		err := b.nodes.rt.store.Do(call, invalidations(part), make([]store.Reply, len(part)))
		cancel()
		if err != nil {
			return false // the next time
		}
		b.mu.Lock()
		for _, key := range part {
			if now.After(b.due[key]) { // not armed again meanwhile
				delete(b.due, key)
			}
		}
		b.mu.Unlock()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.running = len(b.due) > 0
	return !b.running
}

package cachedrepo

import (
	"context"
	"strings"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// release takes the intents back after COMMIT, together with the invalidation of what is not strict, and returns how many keys
// are pending now.
func (w *strictWrite) release(ctx context.Context) (pending int) {
	rt := w.s.rt
	var lost lostTokens
	for ops := range rt.opsOf(w.changes, w.post, func(rel *model.Relation) { rt.foreign(ctx, rel) }) {
		pending = rt.nodes.end(ctx, ops, lost.see)
		lost.chunk++
	}
	if n := lost.count(rt, w); n > 0 && w.certain {
		rt.stats.lost.Add(uint64(n))
		w.s.logLost(ctx, n, lost.example)
	}
	return pending
}

// leave is what is done with the intents when nobody knows whether it was a COMMIT: they stay, and get their full time once
// more, for it is from now on that the server must come to its end before they do. Should it not, or should an intent be
// lost, the invalidations of default mode are left, which follow now and again later.
func (w *strictWrite) leave() {
	for ops := range w.s.rt.opsOf(w.changes, w.intent, nil) {
		w.s.rt.nodes.renew(ops)
	}
}

// post is the operation after COMMIT. Where a strict key got no intent, for the write went on without, a release does what an
// invalidation does.
func (w *strictWrite) post(t *table) (store.Op, bool) {
	return store.Op{Kind: last(protocol.After(protocol.Mode{Strict: t.rel.Strict}, txhooks.Committed)), Token: w.token}, true
}

// withdraw takes the intents back after a rollback. The rows are what they were, so that nobody need wait for it: what cannot
// be taken back now is when the store is there again, or ends with its deadline.
func (w *strictWrite) withdraw(ctx context.Context) {
	n := w.s.rt.nodes
	for ops := range w.s.rt.opsOf(w.changes, func(t *table) (store.Op, bool) {
		return store.Op{Kind: last(protocol.After(strictly, txhooks.RolledBack)), Token: w.token}, t.rel.Strict
	}, nil) {
		if w.chunks--; w.chunks < 0 {
			return
		}
		together(split(n, ops, keyOf), func(g group[store.Op]) {
			if n.asked(g.at) {
				if _, err := n.send(ctx, g.at, "release", g.of); err == nil {
					n.count(g.of)
					return
				}
			}
			n.postpone(g.at, g.of)
		})
	}
}

// lostTokens counts intents that had gone before they were released: evicted, flushed, not there after a failover, or past
// their deadline. From then on to the release readers could store the old row, and some may have seen it after others had
// seen the new one. It cannot be undone, but it can be noticed.
//
// A key that comes twice in a transaction, in different chunks, is released twice, and the second release finds nothing.
// Keys are not remembered, so those that were not found are looked for once more, among all that came before.
type lostTokens struct {
	chunk   int            // that is released now
	at      map[string]int // in which chunk a key was not found first
	more    int            // beyond maxLost
	example string
}

const maxLost = 10_000

func (l *lostTokens) see(ops []store.Op, replies []store.Reply) {
	for i := range ops {
		if ops[i].Kind != store.Release || !replies[i].Lost {
			continue
		}
		_, before := l.at[ops[i].Key]
		switch {
		case before:
		case len(l.at) >= maxLost:
			l.more++
		default:
			if l.at == nil {
				l.at = make(map[string]int)
			}
			l.at[ops[i].Key] = l.chunk
		}
	}
}

func (l *lostTokens) count(rt *runtime, w *strictWrite) int {
	if l.chunk > 1 && len(l.at) > 0 {
		chunk := 0
		for ops := range rt.opsOf(w.changes, w.post, nil) {
			for i := range ops {
				if at, ok := l.at[ops[i].Key]; ok && chunk < at {
					delete(l.at, ops[i].Key)
				}
			}
			chunk++
		}
	}
	for key := range l.at {
		l.example = key
		break
	}
	return len(l.at) + l.more
}

// logLost says it once a minute at most.
func (s *strict) logLost(ctx context.Context, n int, key string) {
	if !s.lostLog.pass(time.Minute) {
		return
	}
	name := ""
	for rel := range s.rt.tables {
		if strings.HasPrefix(key, tablePrefix(s.rt.cfg.Namespace, rel)) {
			name = rel.Name
		}
	}
	s.rt.cfg.Logger.WarnContext(ctx, "aside: intents had gone before they were released: reads of these rows may have gone back in time; see docs/strict.md",
		"table", name, "intents", n, "all", s.rt.stats.lost.Load())
}

// throttle lets one pass in a while.
type throttle struct{ last atomic.Int64 }

func (t *throttle) pass(every time.Duration) bool {
	now := time.Now().UnixNano()
	last := t.last.Load()
	return (last == 0 || now-last >= int64(every)) && t.last.CompareAndSwap(last, now)
}

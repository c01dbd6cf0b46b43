package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/txhooks"
)

// strictWrite is a transaction with changes of strict tables, from its first intent to its end.
type strictWrite struct {
	s       *strict
	changes txhooks.Changes
	token   store.Token // the same at all keys, and of no other transaction
	chunks  int         // that were sent, wholly or in part
	certain bool        // all intents were placed

	ended atomic.Bool
	timer *time.Timer // of the next renewal
	mu    sync.Mutex  // held by a renewal
}

// begin places the intents of a transaction of which nothing but COMMIT is left to be sent, and has them renewed until end.
//
// All times count from before the first of them was sent, so that each intent stands at least until start + Deadline by the
// store's clock, whatever the network does. The store's deadlines are set and judged by the clock of one server, and
// ours by ours: that the two differ matters only when another server takes over, or one clock is set. That is what the
// margin is for.
func (s *strict) begin(ctx context.Context, changes txhooks.Changes) (until time.Time, err error) {
	until = time.Now().Add(s.cfg.time())
	w := &strictWrite{s: s, changes: changes, token: store.Token(changes.ID())}
	s.mu.Lock()
	s.writes[changes.ID()] = w
	s.mu.Unlock()

	err = w.place(ctx, until)
	switch {
	case err == nil:
		w.certain = true
		w.mu.Lock()
		w.timer = time.AfterFunc(w.pause(), w.renew)
		w.mu.Unlock()
		return until, nil
	case ctx.Err() != nil:
		return until, ctx.Err() // the caller's trouble, not the store's
	case s.cfg.OnAway == GoOn:
		s.rt.stats.unguarded.Add(1)
		s.rt.trouble(ctx, "strict", err)
		return time.Time{}, nil
	}
	s.rt.stats.strictRefused.Add(1)
	return until, err
}

// end returns what begin began, whose intents are not renewed any more; nil if it was not called. It waits for a renewal
// that is out: one that came after the release would keep the keys from being cached until its deadline.
func (s *strict) end(id txhooks.ID) *strictWrite {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	w := s.writes[id]
	delete(s.writes, id)
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	w.ended.Store(true) // a renewal that is out ends with the chunk that it is at
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	return w
}

// place places the intents, or moves their deadlines, chunk by chunk: the keys of a large transaction are never in memory at
// once. Where it fails nobody knows how many of them are there. GoOn places what it can: what is not announced is then
// invalidated like in default mode.
func (w *strictWrite) place(ctx context.Context, until time.Time) (err error) {
	rt := w.s.rt
	for ops := range rt.opsOf(w.changes, w.intent, nil) {
		w.chunks++
		if failed := rt.nodes.intend(ctx, ops); failed != nil {
			err = w.refused(ops, failed)
			if w.s.cfg.OnAway != GoOn || ctx.Err() != nil {
				return err
			}
			continue
		}
		if !time.Now().Before(until) {
			return w.refused(ops, errors.New("there was no time left for COMMIT when all intents were placed: Config.Strict.Deadline is too short for as many keys"))
		}
	}
	if lost := w.changes.Err(); lost != nil {
		return w.refused(nil, fmt.Errorf("some of its changed rows are not known: %w", lost))
	}
	return err
}

var strictly = protocol.Mode{Strict: true}

// last is what the last of steps does to a key. What comes before it are marks, which nodes arms: see marks.go.
func last(steps []protocol.Step) store.OpKind { return steps[len(steps)-1].Kind() }

func (w *strictWrite) intent(t *table) (store.Op, bool) {
	return store.Op{Kind: last(protocol.Before(strictly)), Token: w.token, TTL: w.s.cfg.Deadline}, t.rel.Strict
}

// refused names the tables of ops, or all if ops is nil.
func (w *strictWrite) refused(ops []store.Op, cause error) error {
	var names []string
	for _, rel := range w.changes.Tables() {
		if !w.s.known(rel) {
			continue
		}
		prefix := tablePrefix(w.s.rt.cfg.Namespace, rel)
		named := ops == nil
		for i := range ops {
			named = named || strings.HasPrefix(ops[i].Key, prefix)
		}
		if named {
			names = append(names, rel.Name)
		}
	}
	return fmt.Errorf("%w: table %s: %w", ErrStrictRefused, strings.Join(names, ", "), cause)
}

// intend sends intents to the servers that have their keys. One that is known to be away is not asked: whoever waits here
// holds locks on rows.
func (n *nodes) intend(ctx context.Context, ops []store.Op) error {
	var mu sync.Mutex
	var first error
	together(split(n, ops, keyOf), func(g group[store.Op]) {
		for ops := g.of; len(ops) > 0; {
			part := ops[:min(chunk, len(ops))]
			err := errAway
			if n.asked(g.at) {
				_, err = n.send(ctx, g.at, "intend", part)
			}
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if first == nil {
					first = err
				}
				return
			}
			ops = ops[len(part):]
			n.rt.stats.intended.Add(uint64(len(part)))
		}
	})
	return first
}

// pause is how long intents stand before they are renewed: twice that long the store may be away before they end.
func (w *strictWrite) pause() time.Duration { return w.s.cfg.time() / 3 }

// renew moves the deadlines while COMMIT is out. It goes on until end, as long as the COMMIT takes: only its answer tells that
// the row will not change any more. A server that is away is asked all the same, for nobody waits here.
func (w *strictWrite) renew() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended.Load() {
		return // and the changes may be gone
	}
	pause := w.pause()
	for ops := range w.s.rt.opsOf(w.changes, w.intent, nil) {
		if w.ended.Load() {
			return
		}
		if !w.s.rt.nodes.renew(ops) {
			pause = w.pause() / 8
		}
	}
	if !w.ended.Load() {
		w.s.rt.stats.renewed.Add(1)
		w.timer.Reset(pause)
	}
}

func (n *nodes) renew(ops []store.Op) bool {
	var failed atomic.Bool
	together(split(n, ops, keyOf), func(g group[store.Op]) {
		if _, err := n.send(context.Background(), g.at, "renew", g.of); err != nil {
			failed.Store(true)
		}
	})
	return !failed.Load()
}

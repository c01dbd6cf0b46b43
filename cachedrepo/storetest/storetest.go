// Package storetest proves a store.Store: every store of this module passes Run, and a store of yours should.
//
// The judge is store.Step. Cases run an operation on the store and on a model of it, and compare replies and what the
// key holds afterwards; the last case does so with random batches of random operations.
package storetest

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// Harness is one store under test.
type Harness struct {
	Store store.Store
	// Prefix begins every key of a test; it tells tests apart that share a server.
	Prefix string
	// Advance moves the server's clock. Nil for a server that keeps its own time: expiry is waited for then.
	Advance func(d time.Duration)
	// Now is the server's clock if it stands still between calls of Advance, on a whole millisecond; then deadlines are
	// compared exactly, and nonces where a call has one operation. Nil: new nonces need only be new.
	Now func() time.Time
	// Peek is what the server holds at a key, dead tokens included or not; nil: judged by replies alone.
	Peek func(key string) store.Entry
}

// Run runs the suite. It calls open for each case; open cleans up by t.Cleanup.
func Run(t *testing.T, open func(t *testing.T) Harness) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, h Harness)
	}{
		{"Cells", cells},
		{"Repeats", repeats},
		{"StaleFill", staleFill},
		{"StaleStamps", staleStamps},
		{"Renewal", renewal},
		{"Expiry", expiry},
		{"TokensEndOneByOne", tokensEndOneByOne},
		{"LateWriter", lateWriter},
		{"Batches", batches},
		{"SameKeyTwice", sameKeyTwice},
		{"LargeBatch", largeBatch},
		{"Pairs", pairs},
		{"AnyBytes", anyBytes},
		{"LargeValue", largeValue},
		{"OwnMemory", ownMemory},
		{"OneHolder", oneHolder},
		{"Writers", writers},
		{"ContextDone", contextDone},
		{"Scan", scan},
		{"Random", random},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
	}
}

// tb is what the suite needs of a *testing.T and of a *rapid.T.
type tb interface {
	Helper()
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

const (
	long   = time.Minute      // never over within a case
	expect = 30 * time.Second // no store takes that long, on no machine
)

var keys atomic.Int64

// key is a key that nobody has had before.
func (h Harness) key() string { return fmt.Sprintf("%s%d", h.Prefix, keys.Add(1)) }

// tick moves a clock that stands still: no two commands of a client arrive in the same microsecond.
func (h Harness) tick() {
	if h.Advance != nil {
		h.Advance(time.Millisecond)
	}
}

func tok(b byte) (t store.Token) { t[0], t[15] = b, b; return t }

func (h Harness) do(t tb, ops ...store.Op) []store.Reply {
	t.Helper()
	replies := make([]store.Reply, len(ops))
	ctx, cancel := context.WithTimeout(context.Background(), expect)
	defer cancel()
	if err := h.Store.Do(ctx, ops, replies); err != nil {
		t.Fatalf("%d operations: %v", len(ops), err)
	}
	return replies
}

func (h Harness) one(t tb, op store.Op) store.Reply {
	t.Helper()
	return h.do(t, op)[0]
}

// model is what the store should be.
type model struct {
	h       Harness
	entries map[string]store.Entry
	clock   time.Time // if the server's is not known
	// nonces that a key had. Each of them may be in somebody's stamps, and must never be good again.
	nonces map[nonce]bool
}

type nonce struct {
	key string
	of  store.Token
}

func newModel(h Harness) *model {
	return &model{h: h, entries: map[string]store.Entry{}, clock: time.Unix(1_700_000_000, 0), nonces: map[nonce]bool{}}
}

func (m *model) now() time.Time {
	if m.h.Now != nil {
		return m.h.Now()
	}
	m.clock = m.clock.Add(time.Microsecond)
	return m.clock
}

// do runs ops on both and compares. The store gets them in one batch.
func (m *model) do(t tb, ops ...store.Op) []store.Reply {
	t.Helper()
	got := m.h.do(t, ops...)
	for i, op := range ops {
		before := m.entries[op.Key]
		after, want := store.Step(before, op, m.now().Add(time.Duration(i)*time.Microsecond))
		if want.State == store.Generation && before.Token != want.Token {
			// A new nonce. How a store spreads a batch over commands, and so over microseconds, is its own affair.
			if m.h.Now == nil || len(ops) > 1 {
				want.Token, after.Token = got[i].Token, got[i].Token
			}
			n := nonce{op.Key, got[i].Token}
			if m.nonces[n] {
				t.Fatalf("operation %d on %s: the nonce %x is back", op.Kind, describe(before), got[i].Token)
			}
			m.nonces[n] = true
		}
		m.entries[op.Key] = after
		if g := got[i]; g.State != want.State || g.Token != want.Token || !bytes.Equal(g.Value, want.Value) ||
			g.Lost != want.Lost || g.Refused != want.Refused || g.Held != want.Held {
			t.Fatalf("operation %d (token %.2x, value %.20q) on %s\nanswers %s\nwant    %s",
				op.Kind, op.Token[:1], op.Value, describe(before), shown(g), shown(want))
		}
	}
	if m.h.Peek != nil {
		for _, op := range ops {
			m.peek(t, op.Key)
		}
	}
	return got
}

// peek compares what the key holds. Dead tokens may still be there: nobody has looked at them since.
func (m *model) peek(t tb, key string) {
	t.Helper()
	look := store.Op{Kind: store.Get}
	now := m.now()
	if m.h.Now == nil {
		now = time.Now()
	}
	got, _ := store.Step(m.h.Peek(key), look, now)
	want, _ := store.Step(m.entries[key], look, m.now())
	if m.h.Now == nil { // then deadlines are another clock's
		got.Expires = want.Expires
		got.Writers = slices.Clone(got.Writers)
		for i := range min(len(got.Writers), len(want.Writers)) {
			got.Writers[i].Deadline = want.Writers[i].Deadline
		}
	}
	if !got.Equal(want) {
		t.Fatalf("key %q holds %s\nwant %s", key, describe(got), describe(want))
	}
}

var stateNames = [...]string{"absent", "value", "lease", "intent", "generation"}

func describe(e store.Entry) string {
	s := fmt.Sprintf("%s %.2x %.20q until %d", stateNames[e.State], e.Token, e.Value, e.Expires)
	for _, w := range e.Writers {
		s += fmt.Sprintf(" %.2x until %d", w.Token[:1], w.Deadline)
	}
	return s
}

func shown(r store.Reply) string {
	return fmt.Sprintf("%s %x %.20q lost %v, refused %v, held %v", stateNames[r.State], r.Token, r.Value, r.Lost, r.Refused, r.Held)
}

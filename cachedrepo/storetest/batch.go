package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/asidego/aside/cachedrepo/store"
)

// batches: replies answer their own operations, whatever is beside them.
func batches(t *testing.T, h Harness) {
	h.do(t) // none is fine

	m := newModel(h)
	var present, missing []store.Op
	for i := range 300 {
		key := h.key()
		if i%3 == 0 {
			m.do(t, store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long})
			m.do(t, store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: fmt.Append(nil, i), TTL: long})
			present = append(present, store.Op{Key: key})
		} else {
			missing = append(missing, store.Op{Key: key})
		}
	}
	of := func(kind store.OpKind, ops []store.Op) []store.Op {
		out := make([]store.Op, len(ops))
		for i, op := range ops {
			op.Kind, op.Token, op.TTL, op.Value = kind, tok(byte(i)), long, fmt.Append(nil, "batch", i)
			out[i] = op
		}
		return out
	}
	m.do(t, of(store.Get, append(present[:len(present):len(present)], missing...))...)
	m.do(t, of(store.Acquire, missing)...)
	m.do(t, of(store.Fill, missing)...)
	m.do(t, of(store.Get, missing)...)
	m.do(t, of(store.Intend, present)...)
	m.do(t, of(store.Release, present)...)
	m.do(t, of(store.Invalidate, missing)...)
	m.do(t, of(store.Get, append(missing, present...))...)

	var mixed []store.Op
	for i, kind := range kinds {
		mixed = append(mixed, store.Op{Kind: kind, Key: h.key(), Token: tok(byte(i)), Value: []byte("x"), TTL: long})
	}
	m.do(t, mixed...)
	m.do(t, mixed...)
}

// sameKeyTwice: operations on one key run in the order given.
func sameKeyTwice(t *testing.T, h Harness) {
	key, tag := h.key(), h.key()
	m := newModel(h)
	m.do(t,
		store.Op{Kind: store.Get, Key: key},
		store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long},
		store.Op{Kind: store.Stamps, Key: tag, Token: tok(1), TTL: long},
		store.Op{Kind: store.Acquire, Key: key, Token: tok(2), TTL: long},
		store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: []byte("a"), TTL: long},
		store.Op{Kind: store.Get, Key: key},
		store.Op{Kind: store.AcquireOver, Key: key, Token: tok(2), Value: []byte("a"), TTL: long},
		store.Op{Kind: store.Enter, Key: tag, Token: tok(1), TTL: long},
		store.Op{Kind: store.Intend, Key: key, Token: tok(3), TTL: long},
		store.Op{Kind: store.Get, Key: tag},
		store.Op{Kind: store.Invalidate, Key: key},
		store.Op{Kind: store.Release, Key: key, Token: tok(3)},
		store.Op{Kind: store.Get, Key: key})
	m.do(t, store.Op{Kind: store.Get, Key: key}, store.Op{Kind: store.Get, Key: tag}, store.Op{Kind: store.Get, Key: key})

	// A generation that goes and comes again within one call, with the same salt, is another one all the same.
	tag = h.key()
	stamps := store.Op{Kind: store.Stamps, Key: tag, Token: tok(1), TTL: long}
	m.do(t, stamps, store.Op{Kind: store.Bump, Key: tag, Token: tok(1)}, stamps)
}

// largeBatch: a store cuts what is too long for one command, and keeps the order over the cuts.
func largeBatch(t *testing.T, h Harness) {
	const n = 5000
	var ops []store.Op
	for i := range n / 2 {
		ops = append(ops, store.Op{Kind: store.Acquire, Key: fmt.Sprintf("%slarge%d", h.Prefix, i), Token: tok(1), TTL: long})
	}
	for i := range n / 2 {
		ops = append(ops, store.Op{Kind: store.Fill, Key: ops[i].Key, Token: tok(1), Value: fmt.Append(nil, i), TTL: long})
	}
	for i, r := range h.do(t, ops...) {
		if i < n/2 && (r.State != store.Lease || r.Token != tok(1)) || i >= n/2 && (r.State != store.Value || r.Refused) {
			t.Fatalf("operation %d: %s", i, shown(r))
		}
	}
	for i := range ops {
		ops[i] = store.Op{Key: ops[i].Key}
	}
	for i, r := range h.do(t, ops...) {
		if want := fmt.Sprint(i % (n / 2)); string(r.Value) != want {
			t.Fatalf("key %d holds %s", i, shown(r))
		}
	}
	for i := range ops {
		ops[i].Kind = store.Invalidate
	}
	for i, r := range h.do(t, ops...) {
		if r.State != store.Absent {
			t.Fatalf("key %d: %s", i, shown(r))
		}
	}
}

// pairs: whoever sees what the second operation of a pair did finds that the first has run, in a call that is cut into
// many commands, too. It is about stores that say so.
func pairs(t *testing.T, h Harness) {
	if s, ok := h.Store.(store.Paired); !ok || !s.Paired() {
		return
	}
	for range 3 {
		pairsOf(t, h, 200)
	}
}

func pairsOf(t *testing.T, h Harness, n int) {
	t.Helper()
	var fills, both []store.Op
	for range n {
		mark, entry := h.key(), h.key()
		fills = append(fills,
			store.Op{Kind: store.Acquire, Key: entry, Token: tok(1), TTL: long},
			store.Op{Kind: store.Fill, Key: entry, Token: tok(1), Value: []byte("v"), TTL: long})
		both = append(both,
			store.Op{Kind: store.Intend, Key: mark, Token: tok(2), TTL: long, Always: true},
			store.Op{Kind: store.Invalidate, Key: entry})
	}
	h.do(t, fills...)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { h.do(t, both...) })
	// The pairs are looked at in no order of theirs, each until it has been seen.
	for _, i := range rand.Perm(n) {
		for h.state(t, both[2*i+1].Key) != store.Absent {
		}
		if h.state(t, both[2*i].Key) != store.Intent {
			t.Fatalf("pair %d: the entry has ended, and there is no mark", i)
		}
	}
}

// anyBytes: keys, values and tokens are bytes.
func anyBytes(t *testing.T, h Harness) {
	var all []byte
	for i := range 256 {
		all = append(all, byte(i))
	}
	m := newModel(h)
	for i, text := range []string{"", "\x00", "\r\n", "a b", "{a}{b}", "é\xff\xfe", string(all), "V1", "L1" + strings.Repeat("x", 16), "I1", "G1", "%s%d"} {
		key := h.key() + text
		token := store.Token(bytes.Repeat([]byte{byte(i), 0, '\r', '\n'}, 4))
		put := func(kind store.OpKind) store.Op {
			return store.Op{Kind: kind, Key: key, Token: token, Value: []byte(text), TTL: long}
		}
		m.do(t, put(store.Acquire))
		m.do(t, put(store.Fill))
		m.do(t, put(store.Get))
		m.do(t, put(store.Get), put(store.Get))
		m.do(t, put(store.AcquireOver))
		m.do(t, put(store.Intend))
		m.do(t, put(store.Release))
		m.do(t, put(store.Stamps))
		m.do(t, put(store.Enter))
		m.do(t, put(store.Leave))
	}
}

func largeValue(t *testing.T, h Harness) {
	key := h.key()
	big := bytes.Repeat([]byte("0123456789abcde\x00"), 1<<16)
	h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long})
	h.one(t, store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: big, TTL: long})
	if r := h.one(t, store.Op{Key: key}); !bytes.Equal(r.Value, big) {
		t.Fatalf("%d bytes came back as %d", len(big), len(r.Value))
	}
	if r := h.one(t, store.Op{Kind: store.AcquireOver, Key: key, Token: tok(2), Value: big, TTL: long}); r.Token != tok(2) {
		t.Fatalf("not taken over: %s", shown(r))
	}
}

// ownMemory: the caller may use its buffers again after Do.
func ownMemory(t *testing.T, h Harness) {
	key := h.key()
	value := []byte("before")
	h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long})
	h.one(t, store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: value, TTL: long})
	copy(value, "AFTER!")
	if r := h.one(t, store.Op{Key: key}); string(r.Value) != "before" {
		t.Fatalf("holds %q", r.Value)
	}
}

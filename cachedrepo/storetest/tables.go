package storetest

import (
	"testing"

	"github.com/asidego/aside/cachedrepo/store"
)

// setups bring a key into every state, with tokens 1 and 2 in it where there are tokens.
var setups = map[string][]store.Op{
	"absent":                nil,
	"value":                 {{Kind: store.Acquire, Token: tok(1)}, {Kind: store.Fill, Token: tok(1), Value: []byte("v")}},
	"lease":                 {{Kind: store.Acquire, Token: tok(1)}},
	"intent":                {{Kind: store.Intend, Token: tok(1)}},
	"intents":               {{Kind: store.Intend, Token: tok(2)}, {Kind: store.Intend, Token: tok(1)}},
	"generation":            {{Kind: store.Stamps, Token: tok(1)}},
	"held generation":       {{Kind: store.Stamps, Token: tok(3)}, {Kind: store.Enter, Token: tok(1)}},
	"generation held twice": {{Kind: store.Enter, Token: tok(2)}, {Kind: store.Enter, Token: tok(1)}},
	"generation left":       {{Kind: store.Enter, Token: tok(1)}, {Kind: store.Leave, Token: tok(1)}},
}

var kinds = []store.OpKind{
	store.Get, store.Acquire, store.AcquireOver, store.Fill, store.Abandon, store.Intend, store.Release, store.Invalidate,
	store.Stamps, store.Bump, store.Enter, store.Leave,
}

// cells runs every operation on every state, with the token that is there and with another, with the value that is there
// and with another; then it looks at the key once more, and repeats the operation.
func cells(t *testing.T, h Harness) {
	for name, setup := range setups {
		t.Run(name, func(t *testing.T) {
			for _, kind := range kinds {
				for _, token := range []byte{1, 9} {
					for _, value := range []string{"v", "other"} {
						m := newModel(h)
						key := h.key()
						run := func(op store.Op) {
							t.Helper()
							op.Key, op.TTL = key, long
							h.tick()
							m.do(t, op)
						}
						for _, op := range setup {
							run(op)
						}
						op := store.Op{Kind: kind, Token: tok(token), Value: []byte(value)}
						run(op)
						run(store.Op{Kind: store.Get})
						run(op)
						run(store.Op{Kind: store.Get})
					}
				}
			}
		})
	}
}

// repeats: what a client library does after a lost reply, while others go on.
func repeats(t *testing.T, h Harness) {
	key := h.key()
	reader := store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long}
	fill := store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: []byte("row"), TTL: long}
	for range 3 {
		if r := h.one(t, reader); r.State != store.Lease || r.Token != reader.Token {
			t.Fatalf("the holder of the lease is not told so: %s", shown(r))
		}
	}
	for range 3 {
		if r := h.one(t, fill); r.State != store.Value || r.Refused {
			t.Fatalf("a repeated fill: %s", shown(r))
		}
	}
	h.one(t, store.Op{Kind: store.Invalidate, Key: key})
	if r := h.one(t, fill); !r.Refused || r.State != store.Absent {
		t.Fatalf("a fill repeated after an invalidation brings the old value back: %s", shown(r))
	}
	intend := store.Op{Kind: store.Intend, Key: key, Token: tok(2), TTL: long}
	release := store.Op{Kind: store.Release, Key: key, Token: tok(2)}
	h.do(t, intend, intend)
	if r := h.one(t, release); r.Lost || r.State != store.Absent {
		t.Fatalf("a token that was placed twice: %s", shown(r))
	}
	if r := h.one(t, release); !r.Lost {
		t.Fatal("the second release found a token")
	}
}

// staleFill is the history that leases are there for: the reader read before the commit and fills after it.
func staleFill(t *testing.T, h Harness) {
	for name, end := range map[string][]store.Op{
		"invalidate":         {{Kind: store.Invalidate}},
		"intend and release": {{Kind: store.Intend, Token: tok(2), TTL: long}, {Kind: store.Release, Token: tok(2)}},
		"lost token":         {{Kind: store.Release, Token: tok(2)}},
	} {
		t.Run(name, func(t *testing.T) {
			key := h.key()
			h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long})
			for _, op := range end {
				op.Key = key
				h.one(t, op)
			}
			fill := store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: []byte("old"), TTL: long}
			if r := h.one(t, fill); !r.Refused {
				t.Fatalf("%s", shown(r))
			}
			// Nor while the next reader loads.
			h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: tok(3), TTL: long})
			if r := h.one(t, fill); !r.Refused || r.State != store.Lease || r.Token != tok(3) {
				t.Fatalf("%s", shown(r))
			}
		})
	}
}

// staleStamps: a stamp taken before a writer's bump is never good again, whatever is repeated.
func staleStamps(t *testing.T, h Harness) {
	key := h.key()
	seen := map[store.Token]string{}
	stamps := func(salt byte, when string) store.Token {
		t.Helper()
		h.tick()
		r := h.one(t, store.Op{Kind: store.Stamps, Key: key, Token: tok(salt), TTL: long})
		if r.State != store.Generation {
			t.Fatalf("%s: %s", when, shown(r))
		}
		if before, ok := seen[r.Token]; ok {
			t.Fatalf("the stamp of %q is good again %s", before, when)
		}
		seen[r.Token] = when
		return r.Token
	}
	act := func(kind store.OpKind, writer byte) {
		h.tick()
		h.one(t, store.Op{Kind: kind, Key: key, Token: tok(writer), TTL: long})
	}
	stamps(1, "at first")
	act(store.Bump, 2)
	stamps(1, "when the client repeats the first stamps")
	act(store.Bump, 3)
	act(store.Bump, 2)
	stamps(1, "when the client repeats the first bump")
	act(store.Enter, 4)
	stamps(1, "when a writer has entered")
	act(store.Bump, 2)
	stamps(1, "at a bump under tokens")
	act(store.Bump, 2)
	stamps(1, "when that bump is repeated")
	act(store.Enter, 4)
	stamps(1, "when the enter is repeated")
	act(store.Leave, 9)
	stamps(1, "when a writer has lost its token")
	act(store.Leave, 4)
	act(store.Leave, 4)
	stamps(1, "when the leave is repeated")
}

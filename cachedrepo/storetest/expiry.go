package storetest

import (
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// short is a life that is waited for. On a server with a clock of its own it is long enough that a case gets its commands
// through before it is over.
const short = 300 * time.Millisecond

// pass lets d of the server's time go by, and a little more.
func (h Harness) pass(t *testing.T, d time.Duration, until func() bool) {
	t.Helper()
	if h.Advance != nil {
		h.Advance(d)
		if !until() {
			t.Fatalf("nothing ended after %v", d)
		}
		return
	}
	for begin := time.Now(); !until(); {
		if time.Since(begin) > d+expect {
			t.Fatalf("nothing ended after %v", d)
		}
		time.Sleep(d / 50) // between two looks at the condition
	}
}

func (h Harness) state(t tb, key string) store.State {
	t.Helper()
	return h.one(t, store.Op{Kind: store.Get, Key: key}).State
}

func (h Harness) isAbsent(t tb, key string) func() bool {
	return func() bool { return h.state(t, key) == store.Absent }
}

// expiry: values, leases, intents and generations end by themselves, and no guard outlives its lease.
func expiry(t *testing.T, h Harness) {
	acquire := store.Op{Kind: store.Acquire, Token: tok(1), TTL: short}
	for name, setup := range map[string][]store.Op{
		"lease":           {acquire},
		"value":           {acquire, {Kind: store.Fill, Token: tok(1), Value: []byte("v"), TTL: short}},
		"intent":          {{Kind: store.Intend, Token: tok(1), TTL: short}},
		"generation":      {{Kind: store.Stamps, Token: tok(1), TTL: short}},
		"held generation": {{Kind: store.Enter, Token: tok(1), TTL: short}},
	} {
		t.Run(name, func(t *testing.T) {
			key := h.key()
			for i := range setup {
				setup[i].Key = key
			}
			begin := time.Now()
			h.do(t, setup...)
			if h.state(t, key) == store.Absent && time.Since(begin) < short {
				t.Fatal("gone at once")
			}
			h.pass(t, short, h.isAbsent(t, key))
			if name == "lease" {
				fill := store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: []byte("v"), TTL: long}
				if r := h.one(t, fill); !r.Refused {
					t.Errorf("an expired lease fills: %s", shown(r))
				}
			}
			if r := h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: tok(2), TTL: long}); r.Token != tok(2) {
				t.Errorf("the key stays taken: %s", shown(r))
			}
		})
	}
}

// renewal: a second intend moves its own deadline, forwards only, and a lease is not made longer by asking again.
func renewal(t *testing.T, h Harness) {
	key, marker := h.key(), h.key()
	intend := func(d time.Duration) {
		h.one(t, store.Op{Kind: store.Intend, Key: key, Token: tok(1), TTL: d})
	}
	intend(short)
	intend(long)
	intend(short) // late
	h.one(t, store.Op{Kind: store.Acquire, Key: marker, Token: tok(1), TTL: short})
	h.one(t, store.Op{Kind: store.Acquire, Key: marker, Token: tok(1), TTL: long})
	h.pass(t, short, h.isAbsent(t, marker))
	if got := h.state(t, key); got != store.Intent {
		t.Errorf("a renewed token has ended: %s", stateNames[got])
	}
	if r := h.one(t, store.Op{Kind: store.Release, Key: key, Token: tok(1)}); r.Lost {
		t.Error("a renewed token is lost")
	}
}

// tokensEndOneByOne: a dead writer's token does not live on because others come, and takes nobody with it.
func tokensEndOneByOne(t *testing.T, h Harness) {
	key, marker := h.key(), h.key()
	h.do(t,
		store.Op{Kind: store.Intend, Key: key, Token: tok(5), TTL: short},
		store.Op{Kind: store.Intend, Key: key, Token: tok(3), TTL: long},
		store.Op{Kind: store.Intend, Key: key, Token: tok(4), TTL: 2 * short},
		store.Op{Kind: store.Intend, Key: marker, Token: tok(1), TTL: short})
	h.pass(t, short, h.isAbsent(t, marker))
	if r := h.one(t, store.Op{Kind: store.Release, Key: key, Token: tok(5)}); !r.Lost || r.State != store.Intent {
		t.Fatalf("the first token: %s", shown(r))
	}
	if r := h.one(t, store.Op{Kind: store.Release, Key: key, Token: tok(3)}); r.Lost || h.Advance != nil && r.State != store.Intent {
		t.Fatalf("the token that lives longest: %s", shown(r))
	}
	h.pass(t, short, h.isAbsent(t, key))
}

// lateWriter: a writer whose token had expired ends what was loaded since, and is told.
func lateWriter(t *testing.T, h Harness) {
	key, tag := h.key(), h.key()
	begin := time.Now()
	h.do(t,
		store.Op{Kind: store.Stamps, Key: tag, Token: tok(9), TTL: long},
		store.Op{Kind: store.Intend, Key: key, Token: tok(1), TTL: short},
		store.Op{Kind: store.Enter, Key: tag, Token: tok(1), TTL: short})
	stamp := h.one(t, store.Op{Kind: store.Stamps, Key: tag, Token: tok(2), TTL: long})
	if !stamp.Held && time.Since(begin) < short {
		t.Fatal("a generation with a live token is not held")
	}
	h.pass(t, short, func() bool {
		r := h.one(t, store.Op{Kind: store.Get, Key: tag})
		return h.isAbsent(t, key)() && !r.Held
	})
	h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: tok(2), TTL: long})
	h.one(t, store.Op{Kind: store.Fill, Key: key, Token: tok(2), Value: []byte("old"), TTL: long})
	if r := h.one(t, store.Op{Kind: store.Release, Key: key, Token: tok(1)}); !r.Lost || r.State != store.Absent {
		t.Errorf("release: %s", shown(r))
	}
	if r := h.one(t, store.Op{Kind: store.Leave, Key: tag, Token: tok(1)}); !r.Lost || r.Token == stamp.Token {
		t.Errorf("leave: %s", shown(r))
	}
}

package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// oneHolder: however many ask, one loads; after an invalidation the old holder's fill is refused and one other loads.
func oneHolder(t *testing.T, h Harness) {
	key := h.key()
	for round := range 20 {
		var holders, fills atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				own := store.NewToken()
				r := h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: own, TTL: long})
				if r.State == store.Lease && r.Token == own {
					holders.Add(1)
					if r := h.one(t, store.Op{Kind: store.Fill, Key: key, Token: own, Value: []byte("v"), TTL: long}); !r.Refused {
						fills.Add(1)
					}
				}
			})
		}
		wg.Wait()
		if holders.Load() != 1 || fills.Load() != 1 {
			t.Fatalf("round %d: %d readers held the lease, %d filled", round, holders.Load(), fills.Load())
		}
		h.one(t, store.Op{Kind: store.Invalidate, Key: key})
	}
}

// writers: between a writer's intend and its release the key is an intent, whatever readers and other writers do, and
// everyone finds its own token; afterwards the key is free.
func writers(t *testing.T, h Harness) {
	key := h.key()
	stop := make(chan struct{})
	var noise, wg sync.WaitGroup
	noise.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			h.one(t, store.Op{Kind: store.Acquire, Key: key, Token: store.NewToken(), TTL: long})
			h.one(t, store.Op{Kind: store.Invalidate, Key: key})
		}
	})
	for range 8 {
		wg.Go(func() {
			for range 20 {
				own := store.NewToken()
				h.one(t, store.Op{Kind: store.Intend, Key: key, Token: own, TTL: long})
				if got := h.state(t, key); got != store.Intent {
					t.Errorf("a writer's intent is a %s", stateNames[got])
				}
				if r := h.one(t, store.Op{Kind: store.Release, Key: key, Token: own}); r.Lost {
					t.Error("a writer has lost its token")
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	noise.Wait()
	h.one(t, store.Op{Kind: store.Invalidate, Key: key})
	if got := h.state(t, key); got != store.Absent {
		t.Errorf("the key is left a %s", stateNames[got])
	}
}

// contextDone: a context that is over is an error, and nothing runs.
func contextDone(t *testing.T, h Harness) {
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	late, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	for want, ctx := range map[error]context.Context{context.Canceled: cancelled, context.DeadlineExceeded: late} {
		key := h.key()
		for _, ops := range [][]store.Op{
			{{Key: key}},
			{{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long}},
			{{Kind: store.Intend, Key: key, Token: tok(1), TTL: long}},
			{{Key: key}, {Key: key + "b"}},
		} {
			if err := h.Store.Do(ctx, ops, make([]store.Reply, len(ops))); !errors.Is(err, want) {
				t.Errorf("%s: %v", fmt.Sprint(want), err)
			}
		}
		if got := h.state(t, key); got != store.Absent {
			t.Errorf("an operation ran all the same: %s", stateNames[got])
		}
	}
	if err := h.Store.Do(context.Background(), make([]store.Op, 2), make([]store.Reply, 1)); err == nil {
		t.Error("two operations with room for one reply are no error")
	}
}

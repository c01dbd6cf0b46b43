package memstore

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/cachedrepo/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.UnixMilli(1_700_000_000_000)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (s *Store) entry(key string) store.Entry {
	sh := s.shard(key)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if at := sh.items[key]; at != nil {
		return at.Value.(*item).entry
	}
	return store.Entry{}
}

func TestStore(t *testing.T) {
	t.Run("clock that stands still", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			c := newClock()
			s := New(Config{Clock: c.Now})
			return storetest.Harness{Store: s, Prefix: "p:", Advance: c.Advance, Now: c.Now, Peek: s.entry}
		})
	})
	t.Run("real time", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			s := New(Config{})
			return storetest.Harness{Store: s, Prefix: "p:", Peek: s.entry}
		})
	})
}

func do(t *testing.T, s *Store, op store.Op) store.Reply {
	t.Helper()
	replies := make([]store.Reply, 1)
	if err := s.Do(context.Background(), []store.Op{op}, replies); err != nil {
		t.Fatal(err)
	}
	return replies[0]
}

func fill(t *testing.T, s *Store, key string, value []byte, ttl time.Duration) {
	t.Helper()
	own := store.NewToken()
	do(t, s, store.Op{Kind: store.Acquire, Key: key, Token: own, TTL: ttl})
	do(t, s, store.Op{Kind: store.Fill, Key: key, Token: own, Value: value, TTL: ttl})
}

func (s *Store) size() (bytes int64, items int) {
	for _, sh := range s.shards {
		sh.mu.Lock()
		bytes += sh.bytes
		items += len(sh.items)
		sh.mu.Unlock()
	}
	return bytes, items
}

// TestMemoryIsBounded: what was used last stays.
func TestMemoryIsBounded(t *testing.T) {
	s := New(Config{MaxBytes: 64 << 10})
	fill(t, s, "hot", make([]byte, 100), time.Hour)
	for i := range 1000 {
		fill(t, s, fmt.Sprint("cold", i), make([]byte, 1000), time.Hour)
		do(t, s, store.Op{Key: "hot"})
		if bytes, _ := s.size(); bytes > 64<<10 {
			t.Fatalf("%d bytes after %d values", bytes, i)
		}
	}
	if do(t, s, store.Op{Key: "hot"}).State != store.Value {
		t.Error("what is used all the time was evicted")
	}
	if do(t, s, store.Op{Key: "cold1"}).State != store.Absent {
		t.Error("nothing was evicted")
	}
	fill(t, s, "huge", make([]byte, 1<<20), time.Hour)
	if do(t, s, store.Op{Key: "huge"}).State != store.Absent || do(t, s, store.Op{Key: "hot"}).State != store.Value {
		t.Error("a value beyond all bounds has taken the others' place")
	}
	do(t, s, store.Op{Kind: store.Invalidate, Key: "hot"})
	for _, sh := range s.shards {
		var sum int64
		for at := sh.order.Front(); at != nil; at = at.Next() {
			sum += at.Value.(*item).cost()
		}
		if sum != sh.bytes || sh.order.Len() != len(sh.items) {
			t.Errorf("counts %d bytes and %d keys, has %d and %d", sh.bytes, len(sh.items), sum, sh.order.Len())
		}
	}
}

// TestTokensAreNotEvicted: values make room for tokens, never the other way round; dead tokens make room too.
func TestTokensAreNotEvicted(t *testing.T) {
	c := newClock()
	s := New(Config{MaxBytes: 64 << 10, Clock: c.Now})
	w := store.NewToken()
	const n = 150
	for i := range n {
		do(t, s, store.Op{Kind: store.Intend, Key: fmt.Sprint("row", i), Token: w, TTL: time.Minute})
	}
	do(t, s, store.Op{Kind: store.Enter, Key: "tag", Token: w, TTL: time.Minute})
	for i := range 2000 {
		fill(t, s, fmt.Sprint("value", i), make([]byte, 1000), time.Hour)
	}
	for i := range n {
		if do(t, s, store.Op{Kind: store.Release, Key: fmt.Sprint("row", i), Token: w}).Lost {
			t.Fatalf("the token on row %d was evicted", i)
		}
	}
	if do(t, s, store.Op{Kind: store.Leave, Key: "tag", Token: w}).Lost {
		t.Fatal("the token on a generation was evicted")
	}

	for i := range 1000 { // more than fits
		do(t, s, store.Op{Kind: store.Intend, Key: fmt.Sprint("row", i), Token: w, TTL: time.Minute})
	}
	if _, items := s.size(); items < 1000 {
		t.Fatalf("%d tokens of 1000 are left", items)
	}
	c.Advance(time.Minute)
	fill(t, s, "value", make([]byte, 1000), time.Hour)
	if bytes, _ := s.size(); bytes > 64<<10 {
		t.Errorf("dead tokens keep %d bytes", bytes)
	}
}

// TestDeadKeysAreSwept: keys that nobody asks for again go all the same.
func TestDeadKeysAreSwept(t *testing.T) {
	c := newClock()
	s := New(Config{Clock: c.Now})
	for i := range 10_000 {
		fill(t, s, fmt.Sprint("dead", i), []byte("x"), time.Second)
	}
	c.Advance(time.Second)
	for i := range 20_000 {
		fill(t, s, fmt.Sprint("live", i%100), []byte("x"), time.Hour)
		do(t, s, store.Op{Kind: store.Invalidate, Key: fmt.Sprint("live", i%100)})
	}
	if _, items := s.size(); items > 1000 {
		t.Errorf("%d of 10,000 dead keys are left", items)
	}
}

func TestShards(t *testing.T) {
	for _, tt := range []struct {
		max    int64
		shards int
	}{{0, 16}, {1 << 30, 16}, {1 << 20, 1}, {16 << 20, 4}} {
		if got := len(New(Config{MaxBytes: tt.max}).shards); got != tt.shards {
			t.Errorf("%d bytes in %d shards, want %d", tt.max, got, tt.shards)
		}
	}
}

func BenchmarkHit(b *testing.B) {
	s := New(Config{})
	ops := []store.Op{{Kind: store.Acquire, Key: "k", TTL: time.Hour}, {Kind: store.Fill, Key: "k", Value: make([]byte, 200), TTL: time.Hour}}
	replies := make([]store.Reply, 2)
	_ = s.Do(b.Context(), ops, replies)
	ops = []store.Op{{Key: "k"}}
	b.ReportAllocs()
	for b.Loop() {
		_ = s.Do(b.Context(), ops, replies)
	}
}

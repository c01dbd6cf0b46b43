package cachedrepo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
)

// locked is a buffer for a logger.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Whatever goes wrong with the store, what stands in keys and rows is not in the log above Debug.
func TestTroublesAreDiscreet(t *testing.T) {
	const key, value = "somebody@example.org", "Confidential-Name"
	s := newShop(t)
	log := &locked{}
	counted := &countedStore{Store: memstore.New(memstore.Config{})}
	c := s.cache(t, counted, cachedrepo.Config{
		Timeout: timeout, WriteTimeout: timeout, MaxPending: 3,
		Logger: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelInfo})),
	})
	r := &rig{shop: s, store: counted, c: c, cached: cachedrepo.Wrap(c, s.plain)}
	use := func() {
		t.Helper()
		if _, err := r.cached.FindBy(t.Context(), bySKU.Eq(key)); err != nil && !errors.Is(err, model.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := r.cached.FindMany(t.Context(), []int64{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	use()
	p := r.insert(t, key)
	r.rename(t, p.ID, value)
	faults := map[string]func(ctx context.Context, ops []store.Op) error{
		"down":    down,
		"refused": func(context.Context, []store.Op) error { return fmt.Errorf("%w: READONLY", store.ErrRefused) },
		"full":    func(context.Context, []store.Op) error { return store.ErrFull },
		"hangs":   hang,
	}
	for _, fault := range faults {
		counted.fail(fault)
		for range 4 {
			use()
		}
		for i := range 4 {
			r.rename(t, p.ID, value+fmt.Sprint(i))
			q := r.insert(t, fmt.Sprint(key, store.NewToken()))
			r.rename(t, q.ID, value)
		}
		use()
		counted.fail(nil)
		cachedrepo.EndDistrust(c)
		until(t, "trust", func() bool { return !cachedrepo.Unsure(c) })
		use()
	}
	// Damaged values, and values of another version.
	damage(t, counted.Store, "shop:products:sku:"+key)
	use()
	// A key that the row does not have.
	_, _ = cachedrepo.Find(t.Context(), c.View("wrong"), products.Row(4711), func(ctx context.Context) (product, error) {
		return s.plain.Find(ctx, p.ID)
	})
	counted.fail(down)
	r.rename(t, p.ID, value)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := c.Close(ctx)
	text := log.String()
	if len(text) < 200 || c.Stats().Damaged == 0 || c.Stats().Elsewhere == 0 || err == nil {
		t.Errorf("there was too little trouble: %s %v %+v", text, err, c.Stats())
	}
	for _, secret := range []string{"somebody", "Confidential", ":sku:", ":id:"} {
		if bytes.Contains([]byte(text), []byte(secret)) || err != nil && bytes.Contains([]byte(err.Error()), []byte(secret)) {
			t.Errorf("%q is in the log:\n%s%v", secret, text, err)
		}
	}
}

// damage puts a value at a key that is no entry.
func damage(t *testing.T, st store.Store, key string) {
	t.Helper()
	token := store.NewToken()
	if err := st.Do(t.Context(), []store.Op{
		{Kind: store.Invalidate, Key: key},
		{Kind: store.Acquire, Key: key, Token: token, TTL: hour},
		{Kind: store.Fill, Key: key, Token: token, Value: []byte("somebody@example.org: no entry"), TTL: hour},
	}, make([]store.Reply, 3)); err != nil {
		t.Fatal(err)
	}
}

// A batch of 20,000 keys goes to the store in parts, each with a deadline of its own: that all of them together take
// longer than one deadline says nothing about the store.
func TestLargeBatchIsNoFailure(t *testing.T) {
	s := newShop(t)
	const many = 6_000
	s.conn.MustExec(`INSERT INTO products (sku, name) SELECT i, 'old' FROM generate_series(1, $1) i`, many)
	keys := make([]int64, many)
	for i := range keys {
		keys[i] = int64(i + 1)
	}
	stores(t, func(t *testing.T, st store.Store, ns string) {
		deadline := patience
		counted := &listed{countedStore: &countedStore{Store: st}}
		c := s.cache(t, counted, cachedrepo.Config{Namespace: ns, Timeout: deadline, WriteTimeout: deadline})
		cached := cachedrepo.Wrap(c, s.plain)
		largest := 0
		var mu sync.Mutex
		counted.fail(func(_ context.Context, ops []store.Op) error {
			mu.Lock()
			defer mu.Unlock()
			largest = max(largest, len(ops))
			return nil
		})
		for round := range 2 {
			got, err := cached.FindMany(t.Context(), keys)
			if err != nil || len(got) != many {
				t.Fatalf("%d rows, %v", len(got), err)
			}
			if hits := c.Stats().Hits; hits != uint64(round*many) {
				t.Errorf("round %d: %d hits", round, hits)
			}
			until(t, "the fills", func() bool { return c.Stats().Fills == many })
		}
		if st := c.Stats(); st.StoreErrors != 0 || st.Opened != 0 || largest > 512 {
			t.Errorf("%d errors, opened %d times, %d operations in a call", st.StoreErrors, st.Opened, largest)
		}
	})
}

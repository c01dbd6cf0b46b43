package cachedrepo_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// countedStore counts what a store is asked, and can be told to fail.
type countedStore struct {
	store.Store
	reads  atomic.Int64 // operations that only a read sends: all but invalidations
	writes atomic.Int64 // invalidations
	fault  atomic.Pointer[func(ctx context.Context, ops []store.Op) error]
}

func (s *countedStore) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	for _, op := range ops {
		if op.Kind == store.Invalidate {
			s.writes.Add(1)
		} else {
			s.reads.Add(1)
		}
	}
	if fault := s.fault.Load(); fault != nil {
		if err := (*fault)(ctx, ops); err != nil {
			return err
		}
	}
	return s.Store.Do(ctx, ops, replies)
}

// Epoch implements store.Epocher, as the store does.
func (s *countedStore) Epoch(key string) uint64 {
	if e, ok := s.Store.(store.Epocher); ok {
		return e.Epoch(key)
	}
	return 0
}

// Learn implements store.Learner, as the store does.
func (s *countedStore) Learn(ctx context.Context) error {
	if l, ok := s.Store.(store.Learner); ok {
		return l.Learn(ctx)
	}
	return nil
}

// fail has calls fail with what fault returns, before the store is asked; nil: no more.
func (s *countedStore) fail(fault func(ctx context.Context, ops []store.Op) error) {
	if fault == nil {
		s.fault.Store(nil)
		return
	}
	s.fault.Store(&fault)
}

var errDown = errors.New("down")

func down(context.Context, []store.Op) error { return errDown }

// troubles counts what an Observer is told.
type troubles struct {
	mu sync.Mutex
	of map[string]int
}

func (o *troubles) observer() *cachedrepo.Observer {
	return &cachedrepo.Observer{Error: func(_ context.Context, op string, err error) {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.of == nil {
			o.of = make(map[string]int)
		}
		o.of[op]++
	}}
}

func (o *troubles) count(ops ...string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, op := range ops {
		n += o.of[op]
	}
	return n
}

// calls are the names of the operations that go to the store.
var calls = []string{"get", "acquire", "fill", "invalidate"}

// rig is a shop, a cache on a Redis of its own behind a proxy, and all there is to see of them.
type rig struct {
	*shop
	server *testenv.OwnRedis
	admin  *redis.Client // past the proxy
	proxy  *faults.Proxy
	store  *countedStore
	seen   *troubles
	c      *cachedrepo.Cache
	cached repo.Repository[product, int64]
}

// timeout is the cache deadline of a rig. slack is what a busy machine under the race detector may add to a read; what
// the tests tell apart is a deadline and the seconds that a client waits for a dead server by itself.
const (
	timeout = 200 * time.Millisecond // four times what it is by default: the machine is busy
	slack   = 1500 * time.Millisecond
)

func newRig(t *testing.T, cfg cachedrepo.Config, args ...string) *rig {
	t.Helper()
	r := &rig{shop: newShop(t), server: testenv.NewRedis(t, args...), seen: &troubles{}}
	r.admin = r.server.Client(t)
	r.proxy = faults.NewProxy(t, r.server.Addr())
	options := r.server.Options()
	options.Addr = r.proxy.Addr()
	client := redis.NewClient(options)
	t.Cleanup(func() { _ = client.Close() })
	r.store = &countedStore{Store: redisstore.New(client)}
	cfg.Timeout, cfg.WriteTimeout, cfg.Observer = timeout, 10*timeout, r.seen.observer()
	r.c = r.cache(t, r.store, cfg)
	r.cached = cachedrepo.Wrap(r.c, r.plain)
	return r
}

// rename writes a name and returns how many invalidations are pending.
func (r *rig) rename(t *testing.T, id int64, name string) (pending int) {
	t.Helper()
	ctx, report := txhooks.WithReport(t.Context())
	if _, err := r.cached.Modify(ctx, id, func(p *product) error { p.Name = name; return nil }); err != nil {
		t.Fatalf("a write: %v", err)
	}
	return report.Pending
}

// finds checks that a read returns the row with this name, and how long it takes.
func (r *rig) finds(t *testing.T, id int64, name string) time.Duration {
	t.Helper()
	start := time.Now()
	p, err := r.cached.Find(t.Context(), id)
	took := time.Since(start)
	if err != nil || p.ID != id || p.Name != name {
		t.Fatalf("found %+v, %v, want %d %q", p, err, id, name)
	}
	return took
}

// hit checks that a read is answered by the store.
func (r *rig) hit(t *testing.T, id int64, name string) {
	t.Helper()
	before := r.c.Stats().Hits
	r.finds(t, id, name)
	if r.c.Stats().Hits != before+1 {
		t.Fatalf("a read of %d was not answered by the store: %+v", id, r.c.Stats())
	}
}

// warm reads a row until the store has it.
func (r *rig) warm(t *testing.T, id int64, name string) {
	t.Helper()
	r.finds(t, id, name)
	r.hit(t, id, name)
}

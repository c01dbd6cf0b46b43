package cachedrepo_test

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// A history is an order of events among several readers and writers. The tests that retell histories force the order:
// they park a call at a named point, do what has to happen in between, and let the call go on. Nothing sleeps.

// patience is how long a test waits for what must happen. It is never waited for by a test that passes, and every other
// time limit in these tests is longer than the test.
const patience = 30 * time.Second

// gates are points at which calls may be parked.
type gates struct {
	mu    sync.Mutex
	parks []*park
}

// park is one call that will be held, or is held.
type park struct {
	point   string
	match   func(about string) bool
	skip    int
	arrived chan struct{}
	opened  chan struct{}
	once    sync.Once
}

// park holds the next call that reaches point with something that ends in about; "" is anything.
func (g *gates) park(t *testing.T, point, about string) *park { return g.parkNth(t, point, about, 1) }

// parkNth holds the nth such call, and no other.
func (g *gates) parkNth(t *testing.T, point, about string, n int) *park {
	t.Helper()
	p := &park{
		point: point, skip: n - 1,
		match:   func(what string) bool { return strings.HasSuffix(what, about) },
		arrived: make(chan struct{}), opened: make(chan struct{}),
	}
	g.mu.Lock()
	g.parks = append(g.parks, p)
	g.mu.Unlock()
	t.Cleanup(p.goOn) // a test that failed must not leave goroutines behind
	return p
}

// reach is called by a call that is at a point. It returns at once if nobody parks it there.
func (g *gates) reach(ctx context.Context, point string, about ...string) error {
	g.mu.Lock()
	at := slices.IndexFunc(g.parks, func(p *park) bool {
		if p.point != point || !slices.ContainsFunc(about, p.match) {
			return false
		}
		p.skip--
		return p.skip < 0
	})
	if at < 0 {
		g.mu.Unlock()
		return nil
	}
	p := g.parks[at]
	g.parks = slices.Delete(g.parks, at, at+1)
	g.mu.Unlock()
	close(p.arrived)
	select {
	case <-p.opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wait returns when the call is at the point.
func (p *park) wait(t *testing.T) {
	t.Helper()
	receive(t, p.arrived, "a call at "+p.point)
}

// goOn lets the call go on.
func (p *park) goOn() { p.once.Do(func() { close(p.opened) }) }

// Points of the store: "before get" is when nothing has been sent, "after get" when the store has answered and the caller
// does not know it yet. "before acquire" and "after acquire" are Acquire and AcquireOver alike.
var opNames = map[store.OpKind]string{
	store.Get: "get", store.Acquire: "acquire", store.AcquireOver: "acquire", store.Fill: "fill",
	store.Abandon: "abandon", store.Invalidate: "invalidate", store.Intend: "intend", store.Release: "release",
}

// parkedStore is a store whose calls can be parked, and that remembers what it was asked.
type parkedStore struct {
	store.Store
	gates

	mu    sync.Mutex
	calls []string // the operations of the calls that were sent: "get products:id:1", "fill products:id:1 refused"
	ttl   func(op store.Op) time.Duration
	last  map[string]store.Token     // the last intent at each key
	fault func(ops []store.Op) error // guarded by mu, and called with it held
}

func parkable(st store.Store) *parkedStore { return &parkedStore{Store: st} }

// Do parks a call as a whole: at the point of its first operation.
func (s *parkedStore) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	name := opNames[ops[0].Kind]
	keys := make([]string, len(ops))
	for i, op := range ops {
		keys[i] = op.Key
	}
	if err := s.reach(ctx, "before "+name, keys...); err != nil {
		return err
	}
	s.mu.Lock()
	ttl := s.ttl
	if s.fault != nil {
		if err := s.fault(ops); err != nil {
			s.mu.Unlock()
			return err
		}
	}
	s.mu.Unlock()
	if ttl != nil {
		ops = slices.Clone(ops)
		for i := range ops {
			ops[i].TTL = ttl(ops[i])
		}
	}
	err := s.Store.Do(ctx, ops, replies)
	s.mu.Lock()
	for i, op := range ops {
		if op.Kind == store.Intend {
			if s.last == nil {
				s.last = make(map[string]store.Token)
			}
			s.last[op.Key] = op.Token
		}
		_, key, _ := strings.Cut(op.Key, ":")
		text := opNames[op.Kind] + " " + key
		if replies[i].Refused {
			text += " refused"
		}
		if replies[i].Lost {
			text += " lost"
		}
		s.calls = append(s.calls, text)
	}
	s.mu.Unlock()
	if waited := s.reach(ctx, "after "+name, keys...); err == nil {
		err = waited
	}
	return err
}

// Epoch implements store.Epocher, as the store does.
func (s *parkedStore) Epoch(key string) uint64 {
	if e, ok := s.Store.(store.Epocher); ok {
		return e.Epoch(key)
	}
	return 0
}

// Learn implements store.Learner, as the store does.
func (s *parkedStore) Learn(ctx context.Context) error {
	if l, ok := s.Store.(store.Learner); ok {
		return l.Learn(ctx)
	}
	return nil
}

// live changes how long what an operation puts into the store lives.
func (s *parkedStore) live(ttl func(op store.Op) time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ttl = ttl
}

// take returns the operations since the last take.
func (s *parkedStore) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls := s.calls
	s.calls = nil
	return calls
}

// state looks at what a key holds, past the parks.
func (s *parkedStore) state(t *testing.T, key string) store.Reply {
	t.Helper()
	return s.do(t, store.Op{Kind: store.Get, Key: key})
}

// evict has a key lose the last intent that this process placed there. Stores have no operation for what a server does that
// is out of memory, so that it is done in the writer's name.
func (s *parkedStore) evict(t *testing.T, key string) {
	t.Helper()
	if s.do(t, store.Op{Kind: store.Release, Key: key, Token: s.lastIntent(t, key)}).Lost {
		t.Fatalf("there is no intent at %s", key)
	}
}

// lastIntent is the token of the last intent that this process placed at a key.
func (s *parkedStore) lastIntent(t *testing.T, key string) store.Token {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	token, ok := s.last[key]
	if !ok {
		t.Fatalf("no intent was placed at %s", key)
	}
	return token
}

// do runs one operation, past the parks.
func (s *parkedStore) do(t *testing.T, op store.Op) store.Reply {
	t.Helper()
	replies := make([]store.Reply, 1)
	if err := s.Store.Do(t.Context(), []store.Op{op}, replies); err != nil {
		t.Fatal(err)
	}
	return replies[0]
}

// parkedRepo is a repository whose reads can be parked: at "before query", when the database has not been asked, and
// "after query", when it has answered and nobody knows the answer yet. What is matched is the key or the unique value.
type parkedRepo struct {
	repo.Repository[product, int64]
	gates

	table *model.Table[product, int64] // nil: products
	end   atomic.Pointer[func()]
}

// mustEnd has reads call end instead of the database; nil ends that.
func (r *parkedRepo) mustEnd(end func()) {
	if end == nil {
		r.end.Store(nil)
		return
	}
	r.end.Store(&end)
}

func (r *parkedRepo) Table() *model.Table[product, int64] { return cmp.Or(r.table, products) }

func (r *parkedRepo) Find(ctx context.Context, key int64) (product, error) {
	return around(ctx, r, []string{fmt.Sprint("id:", key)}, func() (product, error) {
		return r.Repository.Find(ctx, key)
	})
}

func (r *parkedRepo) FindBy(ctx context.Context, at model.One[product]) (product, error) {
	return around(ctx, r, []string{fmt.Sprint("sku:", at.Place().Value)}, func() (product, error) {
		return r.Repository.FindBy(ctx, at)
	})
}

func (r *parkedRepo) FindMany(ctx context.Context, keys []int64) ([]product, error) {
	about := make([]string, len(keys))
	for i, key := range keys {
		about[i] = fmt.Sprint("id:", key)
	}
	return around(ctx, r, about, func() ([]product, error) { return r.Repository.FindMany(ctx, keys) })
}

func around[R any](ctx context.Context, r *parkedRepo, about []string, query func() (R, error)) (R, error) {
	var none R
	if err := r.reach(ctx, "before query", about...); err != nil {
		return none, err
	}
	if end := r.end.Load(); end != nil {
		(*end)()
	}
	answer, err := query()
	if waited := r.reach(ctx, "after query", about...); waited != nil {
		return none, waited
	}
	return answer, err
}

// process is one process of an application: connections, a cache and a repository of its own, in front of the shop's
// database and a store that it shares with others.
type process struct {
	*shop
	store *parkedStore
	plain *parkedRepo
	cache *cachedrepo.Cache
	ns    string
	repo.Repository[product, int64]
}

// key is where a row is stored.
func (p *process) key(rec product) string { return p.ns + ":products:" + about(rec) }

// process starts one. No time limit of it ends while a test runs, unless cfg says so.
func (s *shop) process(t *testing.T, st store.Store, ns string, cfg cachedrepo.Config) *process {
	t.Helper()
	return s.processAt(t, s.pg.URL(), st, ns, cfg)
}

// processAt starts one that reaches the database at url.
func (s *shop) processAt(t *testing.T, url string, st store.Store, ns string, cfg cachedrepo.Config) *process {
	t.Helper()
	own := s.again(t, url)
	p := &process{shop: own, store: parkable(st), plain: &parkedRepo{Repository: own.plain}, ns: ns}
	cfg.Namespace = ns
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * patience
	}
	if cfg.LoadTimeout == 0 {
		cfg.LoadTimeout = 2 * patience
	}
	p.cache = own.cache(t, p.store, cfg)
	p.Repository = cachedrepo.Wrap(p.cache, p.plain)
	return p
}

// read is a Find on a goroutine of its own.
func (p *process) read(ctx context.Context, id int64) *pending[product] {
	return begin(func() (product, error) { return p.Find(ctx, id) })
}

// rename is a write that returns when everything that belongs to it has happened.
func (p *process) rename(t *testing.T, id int64, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := renameIn(ctx, p, id, name); err != nil {
		t.Fatal(err)
	}
}

// renaming is rename on a goroutine of its own.
func (p *process) renaming(ctx context.Context, id int64, name string) *pending[product] {
	return begin(func() (product, error) { return product{}, renameIn(ctx, p, id, name) })
}

func renameIn(ctx context.Context, r repo.Repository[product, int64], id int64, name string) error {
	_, err := r.Modify(ctx, id, func(rec *product) error { rec.Name = name; return nil })
	return err
}

// reads checks that a read that starts now finds this name.
func (p *process) reads(t *testing.T, id int64, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := p.Find(ctx, id)
	if err != nil || got.Name != name {
		t.Fatalf("a read found %q, %v, want %q", got.Name, err, name)
	}
}

// hits checks that a read is answered by the store, with this name.
func (p *process) hits(t *testing.T, id int64, name string) {
	t.Helper()
	before := p.cache.Stats().Hits
	p.reads(t, id, name)
	if p.cache.Stats().Hits != before+1 {
		t.Fatal("a read was not answered by the store")
	}
}

// pending is a call on another goroutine.
type pending[R any] struct {
	done  chan struct{}
	value R
	err   error
}

func begin[R any](call func() (R, error)) *pending[R] {
	p := &pending[R]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.value, p.err = call()
	}()
	return p
}

// wait returns what the call returned.
func (p *pending[R]) wait(t *testing.T) (R, error) {
	t.Helper()
	receive(t, p.done, "the end of a call")
	return p.value, p.err
}

func (p *pending[R]) returned() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ended waits for a call that returns a row with this name.
func ended(t *testing.T, p *pending[product], name string) {
	t.Helper()
	if got, err := p.wait(t); err != nil || got.Name != name {
		t.Fatalf("a call returned %q, %v, want %q", got.Name, err, name)
	}
}

// receive waits for a channel to be closed, or to have something.
func receive[C any](t *testing.T, ch <-chan C, what string) {
	t.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-ch:
	case <-timer.C:
		stacks := make([]byte, 1<<20)
		t.Fatalf("waited %s for %s\n%s", patience, what, stacks[:runtime.Stack(stacks, true)])
	}
}

// until waits for a state that other goroutines or a server bring about and that nothing announces.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond) // others need the machine meanwhile
	defer tick.Stop()
	for end := time.Now().Add(patience); !reached(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

// again is the shop as another process sees it, with connections of its own, to url.
func (s *shop) again(t *testing.T, url string) *shop {
	t.Helper()
	conn, sent := openCounted(t, url)
	db := txhooks.New(conn, txhooks.Config{HookTimeout: 2 * patience})
	return &shop{s.pg, conn, db, repo.New(db, products), sent}
}

// empty removes all rows.
func (s *shop) empty(t *testing.T) {
	t.Helper()
	if _, err := s.conn.ExecContext(t.Context(), `TRUNCATE products`); err != nil {
		t.Fatal(err)
	}
}

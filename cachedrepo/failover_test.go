package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/txhooks"
)

// pair is a master and its replica, and an address that leads to one of them, as a name or Sentinel would.
type pair struct {
	a, b *testenv.OwnRedis
	addr atomic.Pointer[string]
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{a: testenv.NewRedis(t)}
	p.b = testenv.NewRedisReplica(t, p.a)
	p.lead(p.a)
	return p
}

func (p *pair) lead(to *testenv.OwnRedis) {
	addr := to.Addr()
	p.addr.Store(&addr)
}

func (p *pair) client(t *testing.T) *redis.Client {
	t.Helper()
	o := p.a.Options()
	o.Dialer = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, *p.addr.Load())
	}
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// part ends the replication: what the master is told from now on the replica never hears.
func part(t *testing.T, master, replica *testenv.OwnRedis) {
	t.Helper()
	if n := master.Client(t).Wait(t.Context(), 1, patience).Val(); n != 1 {
		t.Fatal("the replica does not follow")
	}
	if err := replica.Client(t).Do(t.Context(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
}

// failOver kills the master and makes the replica the master, with what it has.
func (p *pair) failOver(t *testing.T) {
	t.Helper()
	if err := p.b.Client(t).Do(t.Context(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	p.lead(p.b)
	p.a.Kill()
}

// History 17: the invalidation that ended a reader's lease is lost in a failover, the lease is not, and the reader fills. Its
// process may have noticed the failover before it fills, or not: what it read it read under the lease of the old master.
func TestHistory17FillAfterFailover(t *testing.T) {
	t.Parallel()
	for _, noticed := range []bool{false, true} {
		t.Run(fmt.Sprintf("noticed %t", noticed), func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			servers := newPair(t)
			r := s.process(t, redisstore.New(servers.client(t)), "shop", cachedrepo.Config{Wait: -1, Timeout: time.Second})
			w := s.process(t, redisstore.New(servers.client(t)), "shop", cachedrepo.Config{Wait: -1, Timeout: time.Second})
			p, q := s.insert(t, "A-1"), s.insert(t, "A-2")
			w.reads(t, q.ID, "old")

			// 1. R takes the lease, which is replicated, and reads old.
			load := r.plain.park(t, "after query", about(p))
			r1 := r.read(t.Context(), p.ID)
			load.wait(t)
			part(t, servers.a, servers.b)
			// 2. W commits and invalidates. That is not replicated. W returns.
			w.rename(t, p.ID, "new")
			if got := w.store.state(t, w.key(p)); got.State != store.Absent {
				t.Fatalf("W has not invalidated: %+v", got)
			}
			// 3. The replica is promoted, with R's lease.
			servers.failOver(t)
			if noticed {
				r.reads(t, q.ID, "old")
				if e := r.cache.Stats().Epoch; e != 1 {
					t.Fatalf("R has not noticed: %d", e)
				}
			}
			// 4. R fills, and the fill is accepted.
			stored := r.store.park(t, "after fill", about(p))
			load.goOn()
			stored.wait(t)
			stored.goOn()
			ended(t, r1, "old")
			if got := w.store.state(t, w.key(p)); got.State != store.Value {
				t.Fatalf("the fill was not accepted: %+v", got)
			}
			// 5. Nobody uses it.
			r.reads(t, p.ID, "new")
			w.reads(t, p.ID, "new")
			r.hits(t, p.ID, "new")
			w.hits(t, p.ID, "new")
		})
	}
}

// The same for a batch.
func TestHistory17FindMany(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	servers := newPair(t)
	r := s.process(t, redisstore.New(servers.client(t)), "shop", cachedrepo.Config{Wait: -1, Timeout: time.Second})
	w := s.process(t, redisstore.New(servers.client(t)), "shop", cachedrepo.Config{Wait: -1, Timeout: time.Second})
	p, q := s.insert(t, "A-1"), s.insert(t, "A-2")
	w.reads(t, q.ID, "old")

	// 1. R takes the lease, which is replicated, and reads old.
	load := r.plain.park(t, "after query", about(p))
	r1 := begin(func() ([]product, error) { return r.FindMany(t.Context(), []int64{p.ID}) })
	load.wait(t)
	part(t, servers.a, servers.b)
	// 2. W commits, invalidates and returns. That is not replicated, and the replica is promoted.
	w.rename(t, p.ID, "new")
	servers.failOver(t)
	// 3. R notices, and fills.
	r.reads(t, q.ID, "old")
	load.goOn()
	if got, err := r1.wait(t); err != nil || len(got) != 1 || got[0].Name != "old" {
		t.Fatalf("%+v, %v", got, err)
	}
	if got := w.store.state(t, w.key(p)); got.State != store.Value {
		t.Fatalf("the fill was not accepted: %+v", got)
	}
	// 4. Nobody uses it.
	r.reads(t, p.ID, "new")
	w.reads(t, p.ID, "new")
}

// A server that is killed and starts with the file that it saved has entries that were invalidated since.
func TestFailoverRestartWithOldFile(t *testing.T) {
	t.Parallel()
	r := newRig(t, cachedrepo.Config{})
	p := r.insert(t, "A-1")
	r.warm(t, p.ID, "old")
	key := productKey(p)
	if err := r.admin.Save(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if n := r.rename(t, p.ID, "new"); n != 0 {
		t.Fatalf("%d pending", n)
	}
	r.server.Kill()
	r.server.Start()
	until(t, "the old value to be back", func() bool { return r.admin.Exists(t.Context(), key).Val() == 1 })
	for end := time.Now().Add(patience); r.c.Stats().Epoch == 0; r.finds(t, p.ID, "new") {
		if time.Now().After(end) {
			t.Fatalf("the old value was never looked at: %+v", r.c.Stats())
		}
	}
	r.warm(t, p.ID, "new")
}

// OnMove is called once for each change, and what it fails with is reported.
func TestFailoverIsTold(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	servers := newPair(t)
	var told troubles
	c := s.cache(t, redisstore.New(servers.client(t)), cachedrepo.Config{Probe: 10 * time.Millisecond, Observer: told.observer()})
	called := make(chan struct{}, 10)
	c.OnMove(func(context.Context) error { called <- struct{}{}; return errors.New("no outbox") })
	cached := cachedrepo.Wrap(c, s.plain)
	p := s.insert(t, "A-1")
	until(t, "a hit", func() bool {
		_, err := cached.Find(t.Context(), p.ID)
		return err == nil && c.Stats().Hits > 0
	})
	time.Sleep(100 * time.Millisecond) // nothing has moved for some turns of the watch
	if n := c.Stats().Moved; n != 0 {
		t.Fatalf("moved %d times", n)
	}
	servers.failOver(t)
	receive(t, called, "the call")
	until(t, "the report", func() bool { return told.count("replay") == 1 })
	if n := c.Stats().Moved; n != 1 {
		t.Errorf("moved %d times", n)
	}
}

// load reads and writes rows from two processes until stop, and fails the test for an error or a stale read: one that
// returns less than what a write had returned, or had been pending for, when the read began.
type load struct {
	t       *testing.T
	rows    []product
	latest  []atomic.Int64 // acknowledged
	stale   atomic.Int64
	reads   atomic.Int64
	slowest atomic.Int64
	stop    chan struct{}
	wait    sync.WaitGroup
}

func newLoad(t *testing.T, rows []product, writer *process, readers ...*process) *load {
	l := &load{t: t, rows: rows, latest: make([]atomic.Int64, len(rows)), stop: make(chan struct{})}
	running := func() bool {
		select {
		case <-l.stop:
			return false
		default:
			return true
		}
	}
	l.wait.Go(func() {
		for n := int64(1); running(); n++ {
			i := int(n) % len(rows)
			if _, err := l.write(writer, i, n); err != nil {
				t.Errorf("a write: %v", err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	for g := range readers {
		l.wait.Go(func() {
			for i := g; running(); i++ {
				l.read(readers[g], i%len(rows))
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.wait.Wait()
}

func (l *load) write(w *process, i int, n int64) (pending int, err error) {
	ctx, report := txhooks.WithReport(context.Background())
	if err := renameIn(ctx, w, l.rows[i].ID, fmt.Sprintf("%08d", n)); err != nil {
		return 0, err
	}
	if report.Pending == 0 {
		l.latest[i].Store(n)
	}
	return report.Pending, nil
}

func (l *load) read(r *process, i int) {
	want := l.latest[i].Load()
	start := time.Now()
	got, err := r.Find(context.Background(), l.rows[i].ID)
	took := time.Since(start)
	for was := l.slowest.Load(); int64(took) > was && !l.slowest.CompareAndSwap(was, int64(took)); was = l.slowest.Load() {
	}
	var n int64
	if got.Name != "old" {
		_, _ = fmt.Sscanf(got.Name, "%d", &n)
	}
	if err != nil {
		l.t.Errorf("a read: %v", err)
	}
	l.reads.Add(1)
	if n < want {
		l.stale.Add(1)
	}
}

// lostWrites changes every row, and counts the changes whose invalidation the master has confirmed.
func (l *load) lostWrites(w *process, n int64) (lost int) {
	for i := range l.rows {
		for end := time.Now().Add(patience); time.Now().Before(end); { // on a busy machine one may be pending
			if pending, err := l.write(w, i, n); err == nil && pending == 0 {
				lost++
				break
			}
		}
	}
	return lost
}

// A master with a Sentinel trio dies in the middle of a load, with invalidations that its replica never heard of. No read
// returns a row from before, none fails, and none waits longer than the store's deadline.
func TestFailoverSentinel(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a := testenv.NewRedis(t)
	b := testenv.NewRedisReplica(t, a)
	sentinels := testenv.NewSentinels(t, a, 1)
	start := func() *process {
		return s.process(t, redisstore.New(sentinels.Client(t)), "shop", cachedrepo.Config{
			Timeout: 200 * time.Millisecond, WriteTimeout: 500 * time.Millisecond, Probe: 100 * time.Millisecond, Wait: -1,
		})
	}
	w, r := start(), start()
	var rows []product
	for i := range 8 {
		rows = append(rows, s.insert(t, fmt.Sprint("A-", i)))
	}
	l := newLoad(t, rows, w, r, w)
	until(t, "hits", func() bool { return r.cache.Stats().Hits > 100 })
	l.end()
	l.stop = make(chan struct{})
	for i := range rows { // cached and replicated
		for range 2 {
			l.read(r, i)
		}
	}
	if n := a.Client(t).Wait(t.Context(), 1, patience).Val(); n != 1 {
		t.Fatal("the replica does not follow")
	}
	b.Stop()
	if err := a.Client(t).Do(t.Context(), "client", "kill", "type", "replica").Err(); err != nil {
		t.Fatal(err)
	}
	if n := l.lostWrites(w, 90_000_000); n != len(rows) {
		t.Fatalf("%d of %d invalidations were confirmed by the old master", n, len(rows))
	}
	a.Kill()
	killed := time.Now()
	b.Continue()
	go func() {
		defer l.wait.Done()
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			default:
			}
			l.read(r, i%len(rows))
			l.read(w, i%len(rows))
		}
	}()
	l.wait.Add(1)
	hits := r.cache.Stats().Hits
	until(t, "hits from the new master", func() bool { return r.cache.Stats().Hits > hits+100 })
	window := time.Since(killed)
	l.end()
	st := r.cache.Stats()
	t.Logf("%d reads, %d stale, the slowest %s; hits again after %s; %d values of the old epoch", l.reads.Load(), l.stale.Load(),
		time.Duration(l.slowest.Load()).Round(time.Millisecond), window.Round(time.Millisecond), st.Epoch+w.cache.Stats().Epoch)
	if l.stale.Load() != 0 {
		t.Errorf("%d of %d reads were stale", l.stale.Load(), l.reads.Load())
	}
	if st.Epoch+w.cache.Stats().Epoch == 0 {
		t.Error("no value from before the failover was met: nothing was tried")
	}
}

// The same in a Cluster, of which one master dies; the rows on the others stay where they are, and hits.
func TestFailoverCluster(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	servers := testenv.NewRedisCluster(t)
	servers.AddReplicas(t)
	st := redisstore.New(servers.Client(t))
	cfg := cachedrepo.Config{Timeout: 200 * time.Millisecond, WriteTimeout: 500 * time.Millisecond, Probe: 100 * time.Millisecond, Wait: -1}
	w := s.process(t, redisstore.New(servers.Client(t)), "shop", cfg)
	r := s.process(t, st, "shop", cfg)
	var rows, others []product
	dies := 1
	for i := 0; len(rows) < 6 || len(others) < 6; i++ {
		p := s.insert(t, fmt.Sprint("A-", i))
		if st.Node(productKey(p)) == "?" {
			r.reads(t, p.ID, "old")
		}
		if st.Node(productKey(p)) == servers.Masters[dies].Addr() {
			rows = append(rows, p)
		} else {
			others = append(others, p)
		}
	}
	for range 2 {
		for _, p := range append(rows[:len(rows):len(rows)], others...) {
			r.reads(t, p.ID, "old")
		}
	}
	l := &load{t: t, rows: rows, latest: make([]atomic.Int64, len(rows)), stop: make(chan struct{})}
	master, replica := servers.Masters[dies], servers.Replicas[dies]
	if n := master.Client(t).Wait(t.Context(), 1, patience).Val(); n != 1 {
		t.Fatal("the replica does not follow")
	}
	replica.Stop()
	if err := master.Client(t).Do(t.Context(), "client", "kill", "type", "replica").Err(); err != nil {
		t.Fatal(err)
	}
	if n := l.lostWrites(w, 7); n != len(rows) {
		t.Fatalf("%d of %d invalidations were confirmed by the old master", n, len(rows))
	}
	master.Kill()
	killed := time.Now()
	replica.Continue()
	replica.Promote(t)
	l.wait.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-l.stop:
				return
			default:
			}
			l.read(r, i%len(rows))
			l.read(w, i%len(rows))
		}
	})
	until(t, "values from before the failover", func() bool { return r.cache.Stats().Epoch+w.cache.Stats().Epoch > 0 })
	hits := r.cache.Stats().Hits
	until(t, "hits from the new master", func() bool { return r.cache.Stats().Hits > hits+100 })
	window := time.Since(killed)
	l.end()
	t.Logf("%d reads, %d stale, the slowest %s; hits again after %s", l.reads.Load(), l.stale.Load(),
		time.Duration(l.slowest.Load()).Round(time.Millisecond), window.Round(time.Millisecond))
	if l.stale.Load() != 0 {
		t.Errorf("%d of %d reads were stale", l.stale.Load(), l.reads.Load())
	}
	epochs := r.cache.Stats().Epoch
	for _, p := range others {
		r.reads(t, p.ID, "old")
	}
	if n := r.cache.Stats().Epoch - epochs; n != 0 {
		t.Errorf("%d rows on other masters are in another epoch", n)
	}
}

// An intent that too few replicas have rolls the write back (redisstore.Config.Acks).
func TestStrictUnacknowledgedIntentRefuses(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	a := testenv.NewRedis(t)
	b := testenv.NewRedisReplica(t, a)
	st := redisstore.NewWith(a.Client(t), redisstore.Config{Acks: 1, AckTimeout: 100 * time.Millisecond})
	w := s.strictly(t, st, "shop", cachedrepo.Config{Wait: -1})
	p := s.insert(t, "A-1")
	b.Stop()
	if err := renameIn(t.Context(), w, p.ID, "new"); !errors.Is(err, store.ErrUnacknowledged) {
		t.Errorf("a write whose intents no replica has: %v", err)
	}
	if is := one[string](t, s, `SELECT name FROM products`); is != "old" {
		t.Errorf("the row is %q", is)
	}
	b.Continue()
	until(t, "the replica", func() bool { return renameIn(t.Context(), w, p.ID, "new") == nil })
	w.reads(t, p.ID, "new")
}

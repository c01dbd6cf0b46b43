package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// strictPair is a reader and a writer, whose way to the store can be cut, and whose way to the database leads through a
// proxy.
type strictPair struct {
	r, w  *process
	way   *countedStore // of the writer
	proxy *faults.Proxy
	p     product
}

func strictPairs(t *testing.T, cfg cachedrepo.Config, test func(t *testing.T, x strictPair)) {
	t.Helper()
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s.empty(t)
		x := strictPair{way: &countedStore{Store: st}, proxy: faults.NewPostgresProxy(t, s.pg.Addr()), p: s.insert(t, "A-1")}
		cfg.Wait = -1
		x.r = s.strictly(t, st, ns, cfg)
		x.w = s.strictlyAt(t, s.pg.URLThrough(x.proxy.Addr()), x.way, ns, cfg)
		test(t, x)
	})
}

// failing has operations of a kind fail.
func failing(kind store.OpKind, err error) func(context.Context, []store.Op) error {
	return func(_ context.Context, ops []store.Op) error {
		if slices.ContainsFunc(ops, func(op store.Op) bool { return op.Kind == kind }) {
			return err
		}
		return nil
	}
}

func renaming(ctx context.Context, p *process, id int64, name string) (pending int, err error) {
	ctx, report := txhooks.WithReport(ctx)
	err = renameIn(ctx, p, id, name)
	return report.Pending, err
}

// holdCommit has the next COMMIT wait on its way to the server until release is called, and holdAnswer its answer on the
// way back. sent is closed when it is there.
func holdCommit(p *faults.Proxy) (sent <-chan struct{}, release func()) {
	at, opened := make(chan struct{}), make(chan struct{})
	var once sync.Once
	p.OnClientBytes(func(_ int, message []byte) faults.Action {
		if faults.IsQuery(message, "COMMIT") {
			once.Do(func() { close(at); <-opened })
		}
		return faults.Forward
	})
	return at, sync.OnceFunc(func() { close(opened) })
}

func holdAnswer(p *faults.Proxy) (sent <-chan struct{}, release func()) {
	at, opened := make(chan struct{}), make(chan struct{})
	var of atomic.Int64
	var once sync.Once
	p.OnClientBytes(func(conn int, message []byte) faults.Action {
		if faults.IsQuery(message, "COMMIT") {
			of.CompareAndSwap(0, int64(conn))
		}
		return faults.Forward
	})
	p.OnServerBytes(func(conn int, _ []byte) faults.Action {
		if of.Load() == int64(conn) {
			once.Do(func() { close(at); <-opened })
		}
		return faults.Forward
	})
	return at, sync.OnceFunc(func() { close(opened) })
}

// The store is away before COMMIT: by default nothing is written, and the caller hears why.
func TestStrictRefuses(t *testing.T) {
	for name, fault := range map[string]error{
		"is down":        errDown,
		"refuses writes": fmt.Errorf("%w: MISCONF", store.ErrRefused),
		"is full":        store.ErrFull,
	} {
		t.Run(name, func(t *testing.T) {
			strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
				x.r.reads(t, x.p.ID, "old")
				x.way.fail(failing(store.Intend, fault))
				x.w.sent.take()
				start := time.Now()
				err := renameIn(t.Context(), x.w, x.p.ID, "new")
				if !errors.Is(err, cachedrepo.ErrStrictRefused) || !strings.Contains(err.Error(), "table products") || errors.Is(err, model.ErrInDoubt) {
					t.Fatalf("a write without intents: %v", err)
				}
				if !errors.Is(err, fault) {
					t.Errorf("the cause is not in it: %v", err)
				}
				if sent := x.w.sent.take(); !slices.Equal(sent, []string{"BEGIN", "SELECT", "UPDATE", "DO", "ROLLBACK"}) {
					t.Errorf("statements %v", sent)
				}
				if name := one[string](t, x.r.shop, `SELECT name FROM products`); name != "old" {
					t.Errorf("the row is %q", name)
				}
				// The next one may be refused without being sent: it holds locks on rows while it waits.
				if err := renameIn(t.Context(), x.w, x.p.ID, "new"); !errors.Is(err, cachedrepo.ErrStrictRefused) {
					t.Errorf("the next write: %v", err)
				}
				if took := time.Since(start); took > slack {
					t.Errorf("two refusals took %s", took)
				}
				if st := x.w.cache.Stats(); st.StrictRefused != 2 || st.Unguarded != 0 || st.Lost != 0 {
					t.Errorf("%+v", st)
				}
				// The store is back.
				x.way.fail(nil)
				until(t, "writes to go through", func() bool { return renameIn(t.Context(), x.w, x.p.ID, "newer") == nil })
				x.r.reads(t, x.p.ID, "newer")
				until(t, "hits", func() bool { x.w.reads(t, x.p.ID, "newer"); return x.w.cache.Stats().Hits > 0 })
			})
		})
	}
}

// One intent that fails is enough: whoever waits for one holds locks on rows, and others wait for these in line, so that the
// next write does not ask a server that may be dead. Reads bear with it for longer.
func TestStrictIntentFailsOnce(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		var intents atomic.Int64
		x.way.fail(func(_ context.Context, ops []store.Op) error {
			switch ops[0].Kind {
			case store.Intend:
				intents.Add(1)
				return errDown
			case store.Invalidate: // the prober's
				return errDown
			}
			return nil
		})
		for range 2 {
			if err := renameIn(t.Context(), x.w, x.p.ID, "new"); !errors.Is(err, cachedrepo.ErrStrictRefused) {
				t.Fatal(err)
			}
		}
		if n, st := intents.Load(), x.w.cache.Stats(); n != 1 || st.Opened != 1 || st.StrictRefused != 2 {
			t.Errorf("the store was asked for intents %d times, opened %d times, refused %d writes", n, st.Opened, st.StrictRefused)
		}
		x.way.fail(nil)
		until(t, "writes to go through", func() bool { return renameIn(t.Context(), x.w, x.p.ID, "newer") == nil })
	})
}

// The intents were placed, and the answer was lost: the write is refused, and they are taken back when the store answers again,
// long before their deadline.
func TestStrictRefusedAndTakenBack(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		x.way.fail(func(ctx context.Context, ops []store.Op) error {
			if ops[0].Kind == store.Intend {
				if err := x.way.Store.Do(ctx, ops, make([]store.Reply, len(ops))); err != nil {
					return err
				}
			}
			return errDown
		})
		if err := renameIn(t.Context(), x.w, x.p.ID, "new"); !errors.Is(err, cachedrepo.ErrStrictRefused) {
			t.Fatal(err)
		}
		if got := x.r.store.state(t, x.r.key(x.p)); got.State != store.Intent {
			t.Errorf("the key holds %+v", got)
		}
		x.r.reads(t, x.p.ID, "old")
		x.way.fail(nil)
		until(t, "the intents to go", func() bool { return x.w.cache.Stats().Pending == 0 })
		x.r.reads(t, x.p.ID, "old")
		x.r.hits(t, x.p.ID, "old")
		if st := x.w.cache.Stats(); st.Lost != 0 || st.Intended != 0 || st.Released != 2 {
			t.Errorf("%d lost, %d intents, %d released", st.Lost, st.Intended, st.Released)
		}
	})
}

// Or the write goes on, as in default mode.
func TestStrictGoesOn(t *testing.T) {
	goOn := cachedrepo.Config{Strict: cachedrepo.StrictConfig{OnAway: cachedrepo.GoOn}}
	t.Run("no intents", func(t *testing.T) {
		strictPairs(t, goOn, func(t *testing.T, x strictPair) {
			x.r.reads(t, x.p.ID, "old")
			x.way.fail(failing(store.Intend, store.ErrFull))
			pending, err := renaming(t.Context(), x.w, x.p.ID, "new")
			if err != nil || pending != 0 {
				t.Fatalf("%d pending, %v", pending, err)
			}
			x.r.reads(t, x.p.ID, "new")
			if st := x.w.cache.Stats(); st.Unguarded != 1 || st.StrictRefused != 0 || st.Lost != 0 || st.Released != 2 {
				t.Errorf("%d unguarded, %d refused, %d lost, %d released", st.Unguarded, st.StrictRefused, st.Lost, st.Released)
			}
		})
	})
	t.Run("no store", func(t *testing.T) {
		strictPairs(t, goOn, func(t *testing.T, x strictPair) {
			x.r.reads(t, x.p.ID, "old")
			x.way.fail(down)
			pending, err := renaming(t.Context(), x.w, x.p.ID, "new")
			if err != nil || pending != 2 {
				t.Fatalf("%d pending, %v", pending, err)
			}
			x.w.reads(t, x.p.ID, "new")
			x.r.hits(t, x.p.ID, "old") // what is given up
			x.way.fail(nil)
			until(t, "the invalidation", func() bool { return x.w.cache.Stats().Pending == 0 })
			x.r.reads(t, x.p.ID, "new")
			if st := x.w.cache.Stats(); st.Unguarded != 1 || st.Lost != 0 {
				t.Errorf("%d unguarded, %d lost", st.Unguarded, st.Lost)
			}
		})
	})
}

// The release is lost: success is returned, nobody reads the old row, and when the store is back the token goes, long before
// its deadline.
func TestStrictReleaseLost(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		x.r.reads(t, x.p.ID, "old")
		placed := x.w.store.park(t, "after intend", about(x.p))
		w1 := begin(func() (int, error) { return renaming(t.Context(), x.w, x.p.ID, "new") })
		placed.wait(t)
		x.way.fail(down)
		placed.goOn()
		if pending, err := w1.wait(t); err != nil || pending != 2 {
			t.Fatalf("%d pending, %v", pending, err)
		}
		for range 2 {
			x.r.reads(t, x.p.ID, "new")
			x.w.reads(t, x.p.ID, "new")
		}
		if got := x.r.store.state(t, x.r.key(x.p)); got.State != store.Intent {
			t.Errorf("the key holds %+v", got)
		}
		x.way.fail(nil)
		until(t, "the release", func() bool { return x.w.cache.Stats().Pending == 0 })
		x.r.reads(t, x.p.ID, "new")
		x.r.hits(t, x.p.ID, "new")
		if st := x.w.cache.Stats(); st.Released != 2 || st.Replayed != 2 || st.Invalidated != 0 || st.Lost != 0 {
			t.Errorf("%d released, %d replayed, %d invalidated, %d lost", st.Released, st.Replayed, st.Invalidated, st.Lost)
		}
	})
}

// The release is lost, and so was the intent: what a reader has stored meanwhile goes when the store is back.
func TestStrictReleaseAndIntentLost(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		// 1. W has its intents; that at the key is evicted, and R stores the old row.
		placed := x.w.store.park(t, "after intend", about(x.p))
		w1 := begin(func() (int, error) { return renaming(t.Context(), x.w, x.p.ID, "new") })
		placed.wait(t)
		x.w.store.evict(t, x.w.key(x.p))
		x.r.reads(t, x.p.ID, "old")
		x.r.hits(t, x.p.ID, "old")
		// 2. W commits; its release is lost. It is reported as pending: with the intent P1 was lost for the others.
		x.way.fail(failing(store.Release, errDown))
		placed.goOn()
		if pending, err := w1.wait(t); err != nil || pending != 2 {
			t.Fatalf("%d pending, %v", pending, err)
		}
		x.w.reads(t, x.p.ID, "new")
		x.r.hits(t, x.p.ID, "old")
		// 3. The release arrives late, finds no token, and ends the old row.
		x.way.fail(nil)
		until(t, "the release", func() bool { return x.w.cache.Stats().Pending == 0 })
		x.r.reads(t, x.p.ID, "new")
		x.r.hits(t, x.p.ID, "new")
	})
}

// Two transactions have their intents at one key, and both releases are lost: each token is taken back when the store is
// there again.
func TestStrictReleasesArePendingByToken(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		at := x.w.ns + ":products:sku:A-9"
		var writes []*pending[int]
		var placed []*park
		for i := range 2 {
			row := x.w.insert(t, fmt.Sprint("B-", i)) // waits for its own intents, which go
			placed = append(placed, x.w.store.park(t, "after intend", "sku:A-9"))
			writes = append(writes, begin(func() (int, error) {
				ctx, report := txhooks.WithReport(t.Context())
				err := x.w.db.Run(ctx, func(ctx context.Context) error {
					if err := txhooks.Touch(ctx, strictSKU.Eq("A-9"), strictProducts.Row(row.ID)); err != nil {
						return err
					}
					_, err := x.w.db.ExecContext(ctx, `UPDATE products SET name = 'new' WHERE id = $1`, row.ID)
					return err
				})
				return report.Pending, err
			}))
			placed[i].wait(t)
		}
		x.way.fail(down)
		for i, w := range writes {
			placed[i].goOn()
			if pending, err := w.wait(t); err != nil || pending == 0 {
				t.Fatalf("%d pending, %v", pending, err)
			}
		}
		if n := x.w.cache.Stats().Pending; n != 5 { // two rows' keys, and the one that they share
			t.Errorf("%d keys pending", n)
		}
		if got := x.r.store.state(t, at); got.State != store.Intent {
			t.Errorf("the key holds %+v", got)
		}
		x.way.fail(nil)
		until(t, "the releases", func() bool { return x.w.cache.Stats().Pending == 0 })
		if got := x.r.store.state(t, at); got.State != store.Absent {
			t.Errorf("the key holds %+v", got)
		}
	})
}

// soon is a deadline that tests wait for. Margin is short enough that a busy machine gets to COMMIT in time.
var soon = cachedrepo.StrictConfig{Deadline: 2 * time.Second, Margin: 10 * time.Millisecond}

// The writer dies between its intents and COMMIT. The key is read from the database until the deadline, then cached again.
func TestStrictWriterDiesBeforeCommit(t *testing.T) {
	strictPairs(t, cachedrepo.Config{Strict: soon}, func(t *testing.T, x strictPair) {
		x.r.reads(t, x.p.ID, "old")
		placed := x.w.store.park(t, "after intend", about(x.p))
		commit := x.proxy.CutBeforeCommit()
		w1 := x.w.renaming(t.Context(), x.p.ID, "new")
		placed.wait(t)
		x.way.fail(down) // nobody hears of it any more
		placed.goOn()
		receive(t, commit.Fired(), "COMMIT")
		if _, err := w1.wait(t); err == nil {
			t.Fatal("a write without COMMIT was committed")
		}
		x.r.reads(t, x.p.ID, "old")
		if x.r.cache.Stats().Guarded == 0 {
			t.Error("the key is not guarded")
		}
		comes(t, "the deadline", func() bool { return x.r.store.state(t, x.r.key(x.p)).State != store.Intent })
		x.r.reads(t, x.p.ID, "old")
		x.r.hits(t, x.p.ID, "old")
		x.way.fail(nil) // or Close would wait for it
	})
}

// COMMIT takes longer than the deadline, and the writer lives: its intents are renewed until the answer is there.
func TestStrictRenewal(t *testing.T) {
	strictPairs(t, cachedrepo.Config{Strict: soon}, func(t *testing.T, x strictPair) {
		sent, release := holdAnswer(x.proxy)
		defer release()
		w1 := x.w.renaming(t.Context(), x.p.ID, "new")
		receive(t, sent, "COMMIT's answer")
		begun := time.Now()
		within(3*soon.Deadline/2, func() {
			if got := x.r.store.state(t, x.r.key(x.p)); got.State != store.Intent {
				t.Fatalf("%s after COMMIT the key holds %+v", time.Since(begun), got)
			}
		})
		x.r.reads(t, x.p.ID, "new")
		if w1.returned() {
			t.Error("W returned without an answer")
		}
		release()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		if st := x.w.cache.Stats(); st.Renewed < 3 || st.Lost != 0 || st.Released != 2 {
			t.Errorf("%d renewals, %d lost, %d released", st.Renewed, st.Lost, st.Released)
		}
		if fills := x.r.cache.Stats().Fills; fills != 0 {
			t.Errorf("%d fills", fills)
		}
		// It has ended: the key is free, and stays free.
		x.r.reads(t, x.p.ID, "new")
		x.r.hits(t, x.p.ID, "new")
	})
}

// A renewal that is under way when COMMIT is answered is waited for: one that came after the release would keep the key from
// being cached until its deadline.
func TestStrictReleaseWaitsForRenewal(t *testing.T) {
	strictPairs(t, cachedrepo.Config{Strict: soon}, func(t *testing.T, x strictPair) {
		sent, release := holdAnswer(x.proxy)
		defer release()
		renewal := x.w.store.parkNth(t, "before intend", about(x.p), 2)
		w1 := x.w.renaming(t.Context(), x.p.ID, "new")
		receive(t, sent, "COMMIT's answer")
		renewal.wait(t)
		release()
		within(soon.Deadline/8, func() {
			if w1.returned() {
				t.Fatal("W returned while it renewed its intents")
			}
		})
		renewal.goOn()
		if _, err := w1.wait(t); err != nil {
			t.Fatal(err)
		}
		x.r.reads(t, x.p.ID, "new")
		x.r.hits(t, x.p.ID, "new")
	})
}

// A renewal that fails is tried again much sooner than the next one would be, though the server is taken to be away.
func TestStrictRenewalIsTriedAgain(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.insert(t, "A-1")
	const pause = time.Second // between two renewals
	proxy, way := newProxy(t, s), &countedStore{Store: memstore.New(memstore.Config{})}
	w := s.strictlyAt(t, s.pg.URLThrough(proxy.Addr()), way, "shop", cachedrepo.Config{
		Strict: cachedrepo.StrictConfig{Deadline: patience, Margin: patience - 3*pause},
	})
	sent, release := holdAnswer(proxy)
	defer release()
	w1 := w.renaming(t.Context(), p.ID, "new")
	receive(t, sent, "COMMIT's answer")
	tried := make(chan time.Time, 100)
	way.fail(func(_ context.Context, ops []store.Op) error {
		if ops[0].Kind == store.Intend {
			tried <- time.Now()
		}
		return errDown
	})
	first := <-tried
	<-tried
	if took := (<-tried).Sub(first); took >= pause {
		t.Errorf("two more attempts took %s", took)
	}
	way.fail(nil)
	release()
	if _, err := w1.wait(t); err != nil {
		t.Fatal(err)
	}
}

// A COMMIT that is late on its way finds no transaction: the server has cut the connection before the intents end.
func TestStrictServerCutsIdleWriter(t *testing.T) {
	short := cachedrepo.StrictConfig{Deadline: patience, Margin: patience - 1500*time.Millisecond}
	strictPairs(t, cachedrepo.Config{Strict: short}, func(t *testing.T, x strictPair) {
		sent, release := holdCommit(x.proxy)
		defer release()
		w1 := x.w.renaming(t.Context(), x.p.ID, "new")
		receive(t, sent, "COMMIT")
		comes(t, "the server to cut the connection", func() bool {
			return one[int](t, x.r.shop, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'`) == 0
		})
		if got := x.r.store.state(t, x.r.key(x.p)); got.State != store.Intent {
			t.Errorf("the key holds %+v", got)
		}
		release()
		if _, err := w1.wait(t); err == nil {
			t.Fatal("committed")
		}
		x.r.reads(t, x.p.ID, "old")
		if name := one[string](t, x.r.shop, `SELECT name FROM products`); name != "old" {
			t.Errorf("the row is %q", name)
		}
	})
}

// stager looks into transactions before they commit.
type stager struct {
	look func(ctx context.Context) error
}

func (s stager) Ended(context.Context, txhooks.Outcome, txhooks.Changes) int { return 0 }
func (s stager) Stage(ctx context.Context, _ txhooks.Changes) error          { return s.look(ctx) }

// A shorter limit that the session or the transaction has is left as it is.
func TestStrictLimitIsNeverLonger(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	w := s.strictly(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{
		Strict: cachedrepo.StrictConfig{Deadline: 2 * time.Minute},
	})
	var got string
	defer w.db.Subscribe(stager{func(ctx context.Context) error {
		return w.db.GetContext(ctx, &got, `SELECT current_setting('idle_in_transaction_session_timeout')`)
	}})()
	for _, test := range []struct{ set, want string }{
		{"0", "118s"}, // 2 m less the margin
		{"10min", "118s"},
		{"2d", "118s"},
		{"5s", "5s"},
		{"117999ms", "117999ms"},
		{"118001ms", "118s"},
	} {
		err := w.db.Run(t.Context(), func(ctx context.Context) error {
			if _, err := w.db.ExecContext(ctx, `SELECT set_config('idle_in_transaction_session_timeout', $1, true)`, test.set); err != nil {
				return err
			}
			_, err := w.Insert(ctx, product{SKU: "L-" + test.set})
			return err
		})
		if err != nil || got != test.want {
			t.Errorf("of %s it became %s, %v; want %s", test.set, got, err, test.want)
		}
	}
	if got := one[string](t, w.shop, `SELECT current_setting('idle_in_transaction_session_timeout')`); got != "0" {
		t.Errorf("the session keeps %s", got)
	}
}

// A server that takes the setting and does not keep it is found out before the intents are placed.
func TestStrictLimitIsReadBack(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresWith(t, shopSchema+`; CREATE FUNCTION set_config(text, text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT '0' $$`)
	s := (&shop{pg: pg}).again(t, pg.URL())
	url := pg.URL() + map[bool]string{true: "&", false: "?"}[strings.Contains(pg.URL(), "?")] + "search_path=public,pg_catalog"
	w := s.strictlyAt(t, url, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	_, err := w.Insert(t.Context(), product{SKU: "A-1"})
	if err == nil || !strings.Contains(err.Error(), "idle_in_transaction_session_timeout cannot be set") || w.cache.Stats().Intended != 0 {
		t.Errorf("%v, %d intents", err, w.cache.Stats().Intended)
	}
}

// The intents take so long that too little of their time is left: nothing is sent any more.
func TestStrictTooLateForCommit(t *testing.T) {
	strictPairs(t, cachedrepo.Config{Strict: soon}, func(t *testing.T, x strictPair) {
		placed := x.w.store.park(t, "after intend", about(x.p))
		w1 := x.w.renaming(t.Context(), x.p.ID, "new")
		placed.wait(t)
		within(soon.Deadline, func() {})
		x.w.sent.take()
		placed.goOn()
		if _, err := w1.wait(t); !errors.Is(err, cachedrepo.ErrStrictRefused) || !strings.Contains(err.Error(), "Config.Strict.Deadline") {
			t.Fatalf("%v", err)
		}
		if sent := x.w.sent.take(); !slices.Equal(sent, []string{"ROLLBACK"}) {
			t.Errorf("sent %v", sent)
		}
		x.r.reads(t, x.p.ID, "old")
		x.r.hits(t, x.p.ID, "old")
		if st := x.w.cache.Stats(); st.StrictRefused != 1 || st.Lost != 0 {
			t.Errorf("%d refused, %d lost", st.StrictRefused, st.Lost)
		}
	})
}

// The answer to COMMIT is lost. The intents stay until their deadline, whatever became of it, and then the row is cached as
// it is.
func TestStrictInDoubt(t *testing.T) {
	for name, test := range map[string]struct {
		cut func(*faults.Proxy) *faults.Fault
		is  string
	}{
		"committed":   {(*faults.Proxy).CutAfterCommit, "new"},
		"rolled back": {(*faults.Proxy).CutBeforeCommit, "old"},
	} {
		t.Run(name, func(t *testing.T) {
			strictPairs(t, cachedrepo.Config{Strict: soon}, func(t *testing.T, x strictPair) {
				cachedrepo.RepeatBy(x.w.cache, func(time.Duration) <-chan time.Time { return nil })
				x.r.reads(t, x.p.ID, "old")
				test.cut(x.proxy)
				if _, err := x.w.renaming(t.Context(), x.p.ID, "new").wait(t); !errors.Is(err, model.ErrInDoubt) {
					t.Fatalf("%v, want in doubt", err)
				}
				begun := time.Now()
				guarded := uint64(0)
				within(soon.Deadline/4, func() {
					guarded++
					x.r.reads(t, x.p.ID, test.is)
					if st := x.r.cache.Stats(); st.Guarded != guarded && time.Since(begun) < soon.Deadline {
						t.Fatalf("%s later, %d of %d reads were guarded", time.Since(begun), st.Guarded, guarded)
					}
				})
				comes(t, "the deadline", func() bool { return x.r.store.state(t, x.r.key(x.p)).State != store.Intent })
				x.r.reads(t, x.p.ID, test.is)
				x.r.hits(t, x.p.ID, test.is)
				if st := x.w.cache.Stats(); st.InDoubt != 1 || st.Released != 0 || st.Lost != 0 {
					t.Errorf("%d in doubt, %d released, %d lost", st.InDoubt, st.Released, st.Lost)
				}
			})
		})
	}
}

// In doubt the intents get their full time once more: it is from then on that the server must come to its end before they do.
func TestStrictInDoubtHasItsFullTime(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.insert(t, "A-1")
	var ahead atomic.Int64
	st := memstore.New(memstore.Config{Clock: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	proxy := newProxy(t, s)
	const deadline = 4 * patience
	w := s.strictlyAt(t, s.pg.URLThrough(proxy.Addr()), st, "shop", cachedrepo.Config{Strict: cachedrepo.StrictConfig{Deadline: deadline}})
	cachedrepo.RepeatBy(w.cache, func(time.Duration) <-chan time.Time { return nil })
	sent, release := holdAnswer(proxy)
	defer release()
	w1 := w.renaming(t.Context(), p.ID, "new")
	receive(t, sent, "COMMIT's answer")
	ahead.Store(int64(deadline / 2))
	proxy.Cut()
	release()
	if _, err := w1.wait(t); !errors.Is(err, model.ErrInDoubt) {
		t.Fatalf("%v, want in doubt", err)
	}
	ahead.Store(int64(deadline * 5 / 4))
	if got := w.store.state(t, w.key(p)); got.State != store.Intent {
		t.Errorf("the key holds %+v", got)
	}
}

// A statement failed and its error was dropped: the server cannot commit, and nothing is announced.
func TestStrictFailedStatement(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		err := x.w.db.Run(t.Context(), func(ctx context.Context) error {
			if err := renameIn(ctx, x.w, x.p.ID, "new"); err != nil {
				return err
			}
			_, _ = x.w.db.ExecContext(ctx, `SELECT 1/0`)
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "division by zero") {
			t.Errorf("%v", err)
		}
		if st := x.w.cache.Stats(); st.Intended != 0 || st.StrictRefused != 0 {
			t.Errorf("%d intents, %d refused", st.Intended, st.StrictRefused)
		}
	})
}

// A caller who leaves while the intents are placed gets its own error, and nothing is written.
func TestStrictCallerLeaves(t *testing.T) {
	strictPairs(t, cachedrepo.Config{}, func(t *testing.T, x strictPair) {
		ctx, cancel := context.WithCancel(t.Context())
		placed := x.w.store.park(t, "after intend", about(x.p))
		w1 := x.w.renaming(ctx, x.p.ID, "new")
		placed.wait(t)
		cancel()
		if _, err := w1.wait(t); !errors.Is(err, context.Canceled) || errors.Is(err, cachedrepo.ErrStrictRefused) {
			t.Fatalf("%v", err)
		}
		x.r.reads(t, x.p.ID, "old")
		x.r.hits(t, x.p.ID, "old")
		if st := x.w.cache.Stats(); st.StrictRefused != 0 || st.StoreErrors != 0 {
			t.Errorf("%d refused, %d errors of the store", st.StrictRefused, st.StoreErrors)
		}
	})
}

// What is changed by a deferred trigger, or refused by a deferred constraint, is so before the intents are placed.
func TestStrictDeferredConstraint(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresWith(t, shopSchema+`; ALTER TABLE products ADD CONSTRAINT named UNIQUE (name) DEFERRABLE INITIALLY DEFERRED`)
	s := (&shop{pg: pg}).again(t, pg.URL())
	w := s.strictly(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	p := w.insert(t, "A-1")
	before := w.cache.Stats().Intended
	_, err := w.Insert(t.Context(), product{SKU: "A-2", Name: p.Name})
	if err == nil || !strings.Contains(err.Error(), "named") {
		t.Errorf("%v", err)
	}
	if n := w.cache.Stats().Intended - before; n != 0 {
		t.Errorf("%d intents for what the database refused", n)
	}
}

// A deferred trigger moves a row that was touched. It has run before it is known what changed: where the row is then has its
// intent before COMMIT too.
func TestStrictDeferredTrigger(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresWith(t, shopSchema+`;
		CREATE FUNCTION move() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE products SET sku = 'A-9' WHERE id = NEW.id; RETURN NULL; END $$;
		CREATE CONSTRAINT TRIGGER move AFTER UPDATE OF name ON products DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION move()`)
	s := (&shop{pg: pg}).again(t, pg.URL())
	st := memstore.New(memstore.Config{})
	r, w := s.strictly(t, st, "shop", cachedrepo.Config{Wait: -1}), s.strictly(t, st, "shop", cachedrepo.Config{Wait: -1})
	p := s.insert(t, "A-1")
	// 1. R has read that nobody is at A-9, and has the lease.
	fill := r.store.park(t, "before fill", "sku:A-9")
	r1 := begin(func() (product, error) { return r.FindBy(t.Context(), strictSKU.Eq("A-9")) })
	fill.wait(t)
	// 2. W renames the row, which its trigger moves there. It has committed.
	post := w.store.park(t, "before release", about(p))
	w1 := begin(func() (product, error) {
		return product{}, w.db.Run(t.Context(), func(ctx context.Context) error {
			if err := txhooks.Touch(ctx, strictProducts.Row(p.ID)); err != nil {
				return err
			}
			_, err := w.db.ExecContext(ctx, `UPDATE products SET name = 'new' WHERE id = $1`, p.ID)
			return err
		})
	})
	post.wait(t)
	// 3. What R has read is not stored.
	fill.goOn()
	if _, err := r1.wait(t); !errors.Is(err, model.ErrNotFound) {
		t.Fatal(err)
	}
	if got, err := r.FindBy(t.Context(), strictSKU.Eq("A-9")); err != nil || got.ID != p.ID {
		t.Errorf("at A-9: %+v, %v", got, err)
	}
	post.goOn()
	if _, err := w1.wait(t); err != nil {
		t.Fatal(err)
	}
	w.lostNothing(t)
}

// Both drivers send the statement before COMMIT, and it does what it should.
func TestStrictDrivers(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, driver := range []string{"postgres", "pgx"} {
		db := txhooks.New(testenv.Open(t, driver, s.pg.URL()), txhooks.Config{})
		var got string
		defer db.Subscribe(stager{func(ctx context.Context) error {
			return db.GetContext(ctx, &got, `SELECT current_setting('idle_in_transaction_session_timeout')`)
		}})()
		own := &shop{pg: s.pg, db: db}
		c := own.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Tables: model.Tables{strictProducts}})
		for i := range 2 {
			if _, err := repo.New(db, strictProducts).Insert(t.Context(), product{SKU: fmt.Sprint(driver, i)}); err != nil || got != "28s" {
				t.Errorf("%s: %v, limit %s", driver, err, got)
			}
		}
		if n := c.Stats().Intended; n != 4 {
			t.Errorf("%s: %d intents", driver, n)
		}
	}
}

package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
)

// onlyWhen fails the calls of a store until open is closed.
func onlyWhen(open <-chan struct{}) func(context.Context, []store.Op) error {
	return func(context.Context, []store.Op) error {
		select {
		case <-open:
			return nil
		default:
			return errDown
		}
	}
}

// closable is a shop with a cache on a store that can be told to fail.
func closable(t *testing.T, st store.Store, ns string, cfg cachedrepo.Config) *rig {
	t.Helper()
	s := newShop(t)
	counted := &countedStore{Store: st}
	cfg.Namespace = ns
	c := s.cache(t, counted, cfg)
	return &rig{shop: s, store: counted, seen: &troubles{}, c: c, cached: cachedrepo.Wrap(c, s.plain)}
}

func (r *rig) holds(t *testing.T, ns string, p product) bool {
	t.Helper()
	replies := make([]store.Reply, 1)
	op := store.Op{Kind: store.Get, Key: fmt.Sprintf("%s:products:id:%d", ns, p.ID)}
	if err := r.store.Store.Do(t.Context(), []store.Op{op}, replies); err != nil {
		t.Fatal(err)
	}
	return replies[0].State == store.Value
}

// Close sends what is pending, and what comes after it is right.
func TestCloseFlushes(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		r := closable(t, st, ns, cachedrepo.Config{})
		p, q := r.insert(t, "A-1"), r.insert(t, "A-2")
		r.warm(t, p.ID, "old")
		r.warm(t, q.ID, "old")
		open := make(chan struct{})
		r.store.fail(onlyWhen(open))
		if n := r.rename(t, p.ID, "new"); n != 2 {
			t.Fatalf("%d pending", n)
		}
		close(open)
		for range 2 {
			if err := r.c.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if r.holds(t, ns, p) {
			t.Error("the store has the old row")
		}
		if st := r.c.Stats(); st.Pending != 0 || st.GivenUp != 0 {
			t.Errorf("pending %d, given up %d", st.Pending, st.GivenUp)
		}

		// Reads after Close go to the database, and the store is not asked.
		before := r.store.reads.Load()
		r.finds(t, p.ID, "new")
		r.finds(t, q.ID, "old")
		if got, err := r.cached.FindBy(t.Context(), bySKU.Eq("A-2")); err != nil || got.ID != q.ID {
			t.Errorf("%+v, %v", got, err)
		}
		if got, err := r.cached.FindMany(t.Context(), []int64{p.ID, q.ID}); err != nil || len(got) != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		if n := r.store.reads.Load() - before; n != 0 {
			t.Errorf("%d operations after Close", n)
		}
		// Writes after Close still invalidate, for the other processes.
		if n := r.rename(t, q.ID, "new"); n != 0 {
			t.Errorf("%d pending", n)
		}
		if r.holds(t, ns, q) {
			t.Error("the store has the old row")
		}
		// What fails now is given up, and counted.
		r.store.fail(down)
		r.rename(t, q.ID, "newer")
		r.finds(t, q.ID, "newer")
		if n := r.c.Stats().GivenUp; n != 2 {
			t.Errorf("%d given up", n)
		}
		if err := r.c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Close does not wait longer than its context, and says how much other processes will not be told.
func TestCloseGivesUp(t *testing.T) {
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	p, q := r.insert(t, "A-1"), r.insert(t, "A-2")
	r.store.fail(down)
	r.rename(t, p.ID, "new")
	if n := r.rename(t, q.ID, "new"); n != 4 {
		t.Fatalf("%d pending", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	err := r.c.Close(ctx)
	if err == nil || !strings.Contains(err.Error(), "4 invalidations were given up") {
		t.Errorf("Close: %v", err)
	}
	if took := time.Since(start); took > 100*time.Millisecond+slack {
		t.Errorf("Close took %s", took)
	}
	if st := r.c.Stats(); st.GivenUp != 4 || st.Pending != 0 {
		t.Errorf("given up %d, pending %d", st.GivenUp, st.Pending)
	}
	if err := r.c.Close(t.Context()); err != nil {
		t.Errorf("Close again: %v", err)
	}
}

// A deferred Close(ctx) must not hold up an exit because the store is away.
func TestCloseWithoutDeadline(t *testing.T) {
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	cachedrepo.CloseWithin(r.c, 50*time.Millisecond)
	r.store.fail(down)
	r.rename(t, r.insert(t, "A-1").ID, "new")
	closed := begin(func() (struct{}, error) { return struct{}{}, r.c.Close(context.Background()) })
	if _, err := closed.wait(t); err == nil || !strings.Contains(err.Error(), "2 invalidations were given up") {
		t.Errorf("Close: %v", err)
	}
}

// What was to be repeated after a COMMIT in doubt is sent by Close, which nobody else will do.
func TestCloseSendsRepeats(t *testing.T) {
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	cachedrepo.RepeatBy(r.c, func(time.Duration) <-chan time.Time { return nil })
	p := r.insert(t, "A-1")
	cachedrepo.InDoubt(r.c, products, p)
	r.warm(t, p.ID, "old") // by a reader between the first invalidation and the server's COMMIT, say
	if !r.holds(t, "shop", p) {
		t.Fatal("the row is not in the store")
	}
	if err := r.c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if r.holds(t, "shop", p) {
		t.Error("the store has the row still")
	}
}

// A context that has ended already is an attempt less, not a crash.
func TestCloseAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	if err := r.c.Close(ctx); err != nil {
		t.Errorf("nothing pending: %v", err)
	}
	r = closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	r.store.fail(down)
	r.rename(t, r.insert(t, "A-1").ID, "new")
	if err := r.c.Close(ctx); err == nil || !strings.Contains(err.Error(), "2 invalidations") {
		t.Errorf("Close: %v", err)
	}
}

// However many close it: together they give up what there is.
func TestCloseTogether(t *testing.T) {
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	r.store.fail(down)
	r.rename(t, r.insert(t, "A-1").ID, "new")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() { _ = r.c.Close(ctx) })
	}
	group.Wait()
	if st := r.c.Stats(); st.GivenUp != 2 || st.Pending != 0 {
		t.Errorf("given up %d, pending %d", st.GivenUp, st.Pending)
	}
}

// A load under way is waited for, and stored.
func TestCloseWaitsForLoads(t *testing.T) {
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{Timeout: patience})
	p := r.insert(t, "A-1")
	loading, goOn := make(chan struct{}), make(chan struct{})
	read := begin(func() (product, error) {
		return cachedrepo.Find(t.Context(), r.c.View("slow"), products.Row(p.ID), func(ctx context.Context) (product, error) {
			close(loading)
			<-goOn
			return r.plain.Find(ctx, p.ID)
		})
	})
	receive(t, loading, "the load")
	closed := begin(func() (struct{}, error) { return struct{}{}, r.c.Close(t.Context()) })
	until(t, "Close to wait", func() bool { return closed.returned() || runs("cachedrepo.(*flights).wait(") })
	if closed.returned() {
		t.Error("Close has not waited")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.c.Close(ctx); err != nil { // one that cannot wait
		t.Error(err)
	}
	close(goOn)
	if _, err := closed.wait(t); err != nil {
		t.Error(err)
	}
	if got, err := read.wait(t); err != nil || got.Name != "old" {
		t.Errorf("%+v, %v", got, err)
	}
	if r.c.Stats().Fills != 1 {
		t.Error("what was loaded is not stored")
	}
}

// Nothing is left behind, whatever was going on: a prober, invalidations to be repeated, loads.
func TestCloseLeavesNoGoroutine(t *testing.T) {
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	waiting := make(chan time.Duration, 8)
	cachedrepo.RepeatBy(r.c, func(d time.Duration) <-chan time.Time {
		waiting <- d
		return nil
	})
	r.store.fail(down)
	p := r.insert(t, "A-1")
	r.rename(t, p.ID, "new")
	r.finds(t, p.ID, "new")
	cachedrepo.InDoubt(r.c, products, p)
	for range 3 {
		receive(t, waiting, "an invalidation to be repeated")
	}
	if n := len(ours()); n < 4 { // the prober and three that wait
		t.Errorf("%d goroutines of the cache while it works", n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := r.c.Close(ctx); err == nil {
		t.Error("nothing was given up")
	}
	until(t, "goroutines to end", func() bool { return len(ours()) == 0 })
	// Nor does anything start again.
	r.rename(t, p.ID, "newer")
	cachedrepo.InDoubt(r.c, products, p)
	r.finds(t, p.ID, "newer")
	until(t, "goroutines to end", func() bool { return len(ours()) == 0 })
}

// ours are the goroutines that a cache has started and that still run. The test must not run beside others.
func ours() (stacks []string) {
	all := make([]byte, 1<<20)
	for stack := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		if strings.Contains(stack, "created by github.com/asidego/aside/cachedrepo.(") {
			stacks = append(stacks, stack)
		}
	}
	return stacks
}

// runs tells whether a goroutine is in a function.
func runs(name string) bool {
	all := make([]byte, 1<<20)
	return strings.Contains(string(all[:runtime.Stack(all, true)]), name)
}

// Reads that find nothing say so after Close as before.
func TestCloseNotFound(t *testing.T) {
	r := closable(t, memstore.New(memstore.Config{}), "shop", cachedrepo.Config{})
	_, before := r.cached.Find(t.Context(), 99)
	if err := r.c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, after := r.cached.Find(t.Context(), 99)
	if !errors.Is(before, model.ErrNotFound) || !errors.Is(after, model.ErrNotFound) || before.Error() != after.Error() {
		t.Errorf("%v, then %v", before, after)
	}
}

package cachedrepo_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// Retire ends all entries of a table and the leases under which rows are being loaded, and nobody's else.
func TestRetire(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		s.conn.MustExec(thingsSchema)
		c, err := cachedrepo.New(s.db, st, cachedrepo.Config{
			Namespace: ns, Tables: model.Tables{products, things}, Timeout: patience, Logger: silent(), Probe: -1,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		r := &rig{shop: s, c: c, cached: cachedrepo.Wrap(c, s.plain)}
		thingRepo := repo.New(s.db, things)
		if _, err := thingRepo.Insert(t.Context(), newThing(1)); err != nil {
			t.Fatal(err)
		}
		cachedThings := cachedrepo.Wrap(c, thingRepo)
		var rows []product
		for i := range 30 {
			rows = append(rows, r.insert(t, fmt.Sprint("A-", i)))
			r.warm(t, rows[i].ID, "old")
		}
		thing := func() (hit bool) {
			before := c.Stats().Hits
			if _, err := cachedThings.Find(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			return c.Stats().Hits > before
		}
		thing()
		other := intent(t, st, ns+":products:id:999")
		neighbour := intent(t, st, ns+"2:products:id:1")

		// A load that has read what somebody else changes behind our back.
		reached, letGo := make(chan struct{}), make(chan struct{})
		late := r.insert(t, "late")
		loaded := make(chan product, 1)
		go func() {
			p, err := cachedrepo.Find(context.Background(), c.View("late"), products.Row(late.ID), func(ctx context.Context) (product, error) {
				p, err := s.plain.Find(ctx, late.ID)
				close(reached)
				<-letGo
				return p, err
			})
			if err != nil {
				t.Error(err)
			}
			loaded <- p
		}()
		receive(t, reached, "the load")
		s.conn.MustExec("UPDATE products SET name = 'new'")
		r.hit(t, rows[0].ID, "old") // as nobody knows

		n, err := c.Retire(t.Context(), products)
		if err != nil || n != 32 { // the entries by id, the lease, the intent
			t.Errorf("retired %d, %v", n, err)
		}
		close(letGo)
		if p := <-loaded; p.Name != "old" {
			t.Errorf("%+v", p)
		}
		for _, p := range append(rows, late) {
			r.warm(t, p.ID, "new")
		}
		if !thing() {
			t.Error("another table's entry is gone")
		}
		if !other() || !neighbour() {
			t.Error("a writer's token is gone")
		}
		if n, err := c.Retire(t.Context()); err != nil || n != 33 {
			t.Errorf("retired %d of all, %v", n, err)
		}
		if thing() {
			t.Error("an entry is left")
		}
		if _, err := c.Retire(t.Context(), model.MustTable(model.Spec[thing0, int64]{Name: "stranger", Key: "id"})); err == nil || !strings.Contains(err.Error(), "stranger") {
			t.Errorf("a table that is not the cache's: %v", err)
		}
	})
}

type thing0 struct {
	ID int64 `db:"id"`
}

// intent puts a writer's token at a key, and returns what tells whether it is still there.
func intent(t *testing.T, st store.Store, key string) func() bool {
	t.Helper()
	do := func(op store.Op) store.Reply {
		replies := make([]store.Reply, 1)
		if err := st.Do(t.Context(), []store.Op{op}, replies); err != nil {
			t.Fatal(err)
		}
		return replies[0]
	}
	token := store.NewToken()
	do(store.Op{Kind: store.Intend, Key: key, Token: token, TTL: hour})
	t.Cleanup(func() {
		ctx := context.Background()
		_ = st.Do(ctx, []store.Op{{Kind: store.Release, Key: key, Token: token}}, make([]store.Reply, 1))
	})
	return func() bool { return do(store.Op{Kind: store.Get, Key: key}).State == store.Intent }
}

// listed is a countedStore that lists its keys.
type listed struct {
	*countedStore
	scans atomic.Int64
}

func (l *listed) Scan(ctx context.Context, prefix string, yield func(keys []string) error) error {
	l.scans.Add(1)
	return l.Store.(store.Scanner).Scan(ctx, prefix, yield)
}

func (l *listed) Node(key string) string {
	if s, ok := l.Store.(store.Sharded); ok {
		return s.Node(key)
	}
	return ""
}

// When more is pending than can be kept, nothing is read from the store until all entries are retired; then all is well,
// for the other processes too.
func TestOverflowRetires(t *testing.T) {
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s := newShop(t)
		l := &listed{countedStore: &countedStore{Store: st}}
		c := s.cache(t, l, cachedrepo.Config{Namespace: ns, MaxPending: 5, Timeout: patience})
		r := &rig{shop: s, store: l.countedStore, c: c, cached: cachedrepo.Wrap(c, s.plain)}
		other := r.another(t, st, cachedrepo.Config{Namespace: ns, Timeout: patience})
		var rows []product
		for i := range 12 {
			rows = append(rows, r.insert(t, fmt.Sprint("A-", i)))
			r.warm(t, rows[i].ID, "old")
			other.warm(t, rows[i].ID, "old")
		}
		held := intent(t, st, ns+":products:id:999")
		l.fail(down)
		for _, p := range rows {
			r.rename(t, p.ID, "new")
		}
		if n := c.Stats().GivenUp; n == 0 {
			t.Fatal("nothing was lost: nothing is tested")
		}
		before := l.reads.Load()
		for _, p := range rows {
			r.finds(t, p.ID, "new")
		}
		if n := l.reads.Load() - before; n != 0 {
			t.Errorf("%d operations of reads", n)
		}
		if l.scans.Load() != 0 {
			t.Error("the keys are listed while the store is away")
		}
		l.fail(nil)
		until(t, "trust", func() bool {
			r.finds(t, rows[0].ID, "new")
			return !cachedrepo.Unsure(c)
		})
		if l.scans.Load() == 0 {
			t.Error("nothing was retired")
		}
		for _, p := range rows {
			r.warm(t, p.ID, "new")
			other.warm(t, p.ID, "new")
		}
		if !held() {
			t.Error("a writer's token is gone")
		}
	})
}

// Keys that are lost while the others are being retired may have been listed before they were filled again.
func TestOverflowMeanwhile(t *testing.T) {
	c := newCrew(t, cachedrepo.Config{MaxPending: 1, Timeout: timeout})
	loseSome := func() {
		c.fleet.fail("b", down)
		for _, p := range c.odd {
			c.rename(t, p.ID, "new")
		}
		c.fleet.fail("b", nil)
	}
	var once atomic.Bool
	c.fleet.fail("a", func(_ context.Context, ops []store.Op) error {
		if ops[0].Kind == store.Get && ops[0].Key == "" && once.CompareAndSwap(false, true) { // the scan, which then goes to b
			cachedrepo.Lose(c.c)
		}
		return nil
	})
	loseSome()
	until(t, "trust", func() bool { return !cachedrepo.Unsure(c.c) })
	if !once.Load() || c.fleet.scanned() < 2 {
		t.Errorf("%d scans", c.fleet.scanned())
	}
}

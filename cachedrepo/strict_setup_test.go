package cachedrepo_test

import (
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// strictProducts is the shop's table as a process sees it that is strict about it.
var (
	strictSKU      = model.NewUnique[product, string]("sku")
	strictCategory = model.NewIndex[product, int64]("category_id")
	strictProducts = model.MustTable(model.Spec[product, int64]{
		Name: "products", Key: "id", Version: "version", Strict: true,
		Indexes: model.Indexes[product]{strictSKU, strictCategory},
	})
)

// strictly starts a strict process. No time limit of it ends while a test runs, unless cfg says so.
func (s *shop) strictly(t *testing.T, st store.Store, ns string, cfg cachedrepo.Config) *process {
	t.Helper()
	return s.strictlyAt(t, s.pg.URL(), st, ns, cfg)
}

// strictlyAt starts one that reaches the database at url.
func (s *shop) strictlyAt(t *testing.T, url string, st store.Store, ns string, cfg cachedrepo.Config) *process {
	t.Helper()
	own := s.again(t, url)
	own.plain = repo.New(own.db, strictProducts)
	p := &process{
		shop: own, store: parkable(st), plain: &parkedRepo{Repository: own.plain, table: strictProducts}, ns: ns,
	}
	cfg.Namespace, cfg.Tables = ns, model.Tables{strictProducts}
	for _, d := range []*time.Duration{&cfg.Timeout, &cfg.LoadTimeout, &cfg.WriteTimeout} {
		if *d == 0 {
			*d = 2 * patience
		}
	}
	if cfg.Strict.Deadline == 0 {
		cfg.Strict.Deadline = 4 * patience
	}
	p.cache = own.cache(t, p.store, cfg)
	p.Repository = cachedrepo.Wrap(p.cache, p.plain)
	return p
}

// strictHistories is histories for strict processes.
func strictHistories(t *testing.T, test func(t *testing.T, r, w *process, p product)) {
	t.Helper()
	t.Parallel()
	s := newShop(t)
	stores(t, func(t *testing.T, st store.Store, ns string) {
		s.empty(t)
		r := s.strictly(t, st, ns, cachedrepo.Config{Wait: -1})
		w := s.strictly(t, st, ns, cachedrepo.Config{Wait: -1})
		test(t, r, w, s.insert(t, "A-1"))
	})
}

// lostNothing checks that all intents of a process were there until it took them back.
func (p *process) lostNothing(t *testing.T) {
	t.Helper()
	if st := p.cache.Stats(); st.Lost != 0 || st.Intended != st.Released {
		t.Errorf("%d intents, %d released, %d lost", st.Intended, st.Released, st.Lost)
	}
}

func newProxy(t *testing.T, s *shop) *faults.Proxy {
	t.Helper()
	return faults.NewPostgresProxy(t, s.pg.Addr())
}

// within checks something again and again while a time passes, and comes waits for a state that comes with time. They
// do not keep the machine busy, as until does.
func within(d time.Duration, check func()) {
	for end := time.Now().Add(d); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		check()
	}
}

func comes(t *testing.T, what string, reached func() bool) {
	t.Helper()
	until(t, what, func() bool {
		if reached() {
			return true
		}
		<-time.After(20 * time.Millisecond)
		return false
	})
}

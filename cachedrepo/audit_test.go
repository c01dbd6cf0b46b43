package cachedrepo_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
)

// audited is a cache with rows in it: the first of these products under both of its keys, the second under its key, and an
// id at which there is none.
func audited(t *testing.T, s *shop, c *cachedrepo.Cache) (one, two product, absent int64) {
	t.Helper()
	one, two, absent = s.insert(t, "one"), s.insert(t, "two:%"), 1000
	items := cachedrepo.Wrap(c, s.plain)
	for range 2 {
		for _, id := range []int64{one.ID, two.ID, absent} {
			_, _ = items.Find(t.Context(), id)
		}
		_, _ = items.FindBy(t.Context(), bySKU.Eq("one"))
	}
	if hits := c.Stats().Hits; hits != 4 {
		t.Fatalf("%d hits, want 4", hits)
	}
	return one, two, absent
}

// past writes as somebody does of whom the cache hears nothing.
func (s *shop) past(t *testing.T, query string, args ...any) {
	t.Helper()
	s.conn.MustExecContext(t.Context(), query, args...)
}

func TestAuditFindsWrongEntries(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, st store.Store, namespace string) {
		s := newShop(t)
		c := s.cache(t, st, cachedrepo.Config{Namespace: namespace, Timeout: time.Second})
		one, two, absent := audited(t, s, c)
		compared, wrong, err := c.Audit(t.Context(), products)
		if err != nil || compared != 4 || len(wrong) != 0 {
			t.Fatalf("compared %d, want 4; wrong %v, want none; %v", compared, wrong, err)
		}
		s.past(t, "UPDATE products SET name = 'new' WHERE id = $1", one.ID)
		s.past(t, "DELETE FROM products WHERE id = $1", two.ID)
		s.past(t, "INSERT INTO products (id, sku, name) VALUES ($1, 'three', 'x')", absent)
		_, wrong, err = c.Audit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, w := range wrong {
			got = append(got, w.Index+"="+w.Value+" "+strings.Join(w.Columns, ",")+" "+w.Why)
		}
		slices.Sort(got)
		want := []string{
			"id=1 name name is \"old\" in the entry and \"new\" in the database",
			"id=1000  the entry says that there is no such row, and there is one",
			"id=2  the entry has a row that is not there",
			"sku=one name name is \"old\" in the entry and \"new\" in the database",
		}
		if !slices.Equal(got, want) {
			t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// An entry that is about to be ended is not wrong: its writer has committed and not returned.
func TestAuditWaitsForWriters(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	st := &slowly{Store: memstore.New(memstore.Config{}), held: make(chan struct{})}
	c := s.cache(t, st, cachedrepo.Config{Timeout: time.Second, WriteTimeout: 5 * time.Second})
	one, _, _ := audited(t, s, c)
	st.on.Store(true)
	written := make(chan error)
	go func() {
		_, err := s.plain.Modify(context.Background(), one.ID, func(p *product) error {
			p.Name = "new"
			return nil
		})
		written <- err
	}()
	<-st.held
	_, wrong, err := c.Audit(t.Context())
	if err != nil || len(wrong) != 0 {
		t.Errorf("wrong: %v, %v", wrong, err)
	}
	if err := <-written; err != nil {
		t.Error(err)
	}
}

// What has changed between the two looks is not wrong, whatever the second one finds: there are writers, and one of them may be
// about to end the entry.
func TestAuditBelievesWhatStands(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		row, entry bool // change in between
		want       int
	}{
		"nothing": {false, false, 1},
		"the row": {true, false, 0},
		"both":    {true, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			inner := memstore.New(memstore.Config{})
			st := &lookedAt{Store: inner}
			c := s.cache(t, st, cachedrepo.Config{Timeout: time.Second})
			other := s.again(t, s.pg.URL())
			filled := cachedrepo.Wrap(other.cache(t, inner, cachedrepo.Config{Timeout: time.Second}), other.plain)
			one := s.insert(t, "one")
			find(t, filled, one.ID)
			s.past(t, "UPDATE products SET name = 'new'")
			st.second = func() {
				if test.entry {
					do(t, inner, store.Op{Kind: store.Invalidate, Key: c.Namespace() + ":products:" + about(one)})
					find(t, filled, one.ID)
				}
				if test.row {
					s.past(t, "UPDATE products SET name = 'newer'")
				}
			}
			if _, wrong, err := c.Audit(t.Context()); err != nil || len(wrong) != test.want {
				t.Errorf("wrong: %v, %v; want %d", wrong, err, test.want)
			}
		})
	}
}

// lookedAt is a store of one entry. second is called before the second look at it.
type lookedAt struct {
	*memstore.Store
	looks  atomic.Int64
	second func()
}

func (s *lookedAt) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	if ops[0].Kind == store.Get && s.looks.Add(1) == 2 {
		s.second()
	}
	return s.Store.Do(ctx, ops, replies)
}

// slowly is a store whose invalidations take a moment longer than an audit's first look. The time is the point: an audit
// that looks again sooner than a writer may take fails (the rule audit-waits-for-writers).
type slowly struct {
	*memstore.Store
	on   atomic.Bool
	held chan struct{}
}

func (s *slowly) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	if s.on.Load() && ops[0].Kind == store.Invalidate {
		s.on.Store(false)
		close(s.held)
		time.Sleep(100 * time.Millisecond)
	}
	return s.Store.Do(ctx, ops, replies)
}

// short are ages for tests.
var shortAges = [3]time.Duration{10 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}

// awaitAudits waits until n samples have been compared at the last age.
func awaitAudits(t *testing.T, c *cachedrepo.Cache, n uint64) cachedrepo.Stats {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if s := c.Stats(); s.Audited[2] >= n {
			return s
		}
		if time.Now().After(deadline) {
			t.Fatalf("the auditor does not come to its end: %+v", c.Stats().Audited)
		}
	}
}

// Each age counts for itself: one is wrong until it is repaired.
func TestAuditorOfHits(t *testing.T) {
	t.Parallel()
	for name, repair := range map[string]bool{"counts": false, "repairs": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			cfg := cachedrepo.Config{Timeout: time.Second, Audit: cachedrepo.Audit{Hits: 1, Rate: 1000, Repair: repair}}
			cachedrepo.AuditAfter(&cfg.Audit, shortAges)
			var told atomic.Int64
			cfg.Observer = &cachedrepo.Observer{Error: func(_ context.Context, op string, err error) {
				if op == "audit" && strings.Contains(err.Error(), "table products, index id") && strings.Contains(err.Error(), `["name"]`) {
					told.Add(1)
				}
			}}
			c := s.cache(t, memstore.New(memstore.Config{}), cfg)
			items := cachedrepo.Wrap(c, s.plain)
			one := s.insert(t, "one")
			find(t, items, one.ID)
			s.past(t, "UPDATE products SET name = 'new' WHERE id = $1", one.ID)
			find(t, items, one.ID) // the hit
			st := awaitAudits(t, c, 1)
			want := [3]uint64{1, 1, 1}
			if repair {
				want = [3]uint64{1, 0, 0}
			}
			if st.Inconsistent != want || st.Audited != [3]uint64{1, 1, 1} || told.Load() != int64(want[0]+want[1]+want[2]) {
				t.Errorf("inconsistent %v of %v, told %d times, want %v of 1 each", st.Inconsistent, st.Audited, told.Load(), want)
			}
			name := find(t, items, one.ID).Name
			if repaired := name == "new" && st.Repaired == 1; repaired != repair {
				t.Errorf("%d repaired, the row is read as %q", st.Repaired, name)
			}
		})
	}
}

// The auditor does not take an entry for wrong whose writer has committed and is about to end it.
func TestAuditorWaitsForWriters(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	inner := memstore.New(memstore.Config{})
	writing := &countedStore{Store: inner}
	s.cache(t, writing, cachedrepo.Config{})
	one := s.insert(t, "one")

	other := s.again(t, s.pg.URL())
	cfg := cachedrepo.Config{Audit: cachedrepo.Audit{Hits: 1, Rate: 1000}}
	cachedrepo.AuditAfter(&cfg.Audit, shortAges)
	reading := &countedStore{Store: inner}
	c := other.cache(t, reading, cfg)
	items := cachedrepo.Wrap(c, other.plain)
	find(t, items, one.ID)

	held, release := make(chan struct{}), make(chan struct{})
	writing.fail(func(context.Context, []store.Op) error {
		writing.fail(nil)
		close(held)
		<-release
		return nil
	})
	written := make(chan error)
	go func() {
		_, err := s.plain.Modify(context.Background(), one.ID, func(p *product) error { p.Name = "new"; return nil })
		written <- err
	}()
	<-held
	before := reading.reads.Load() + 1
	if got := find(t, items, one.ID); got.Name != "old" {
		t.Errorf("found %q in the store", got.Name)
	}
	until(t, "the auditor's first look", func() bool { return reading.reads.Load() > before })
	close(release)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got := awaitAudits(t, c, 1); got.Inconsistent != [3]uint64{} {
		t.Errorf("inconsistent %v of %v", got.Inconsistent, got.Audited)
	}
}

// A committed change has an entry compared that it should have ended, whoever filled it since.
func TestAuditorOfChanges(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	cfg := cachedrepo.Config{Timeout: time.Second, Audit: cachedrepo.Audit{Changes: 1, Rate: 1000}}
	cachedrepo.AuditAfter(&cfg.Audit, [3]time.Duration{100 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond})
	st := &deaf{Store: memstore.New(memstore.Config{})}
	c := s.cache(t, st, cfg)
	items := cachedrepo.Wrap(c, s.plain)
	one := s.insert(t, "one")
	awaitAudits(t, c, 1)
	find(t, items, one.ID)
	_, _ = items.FindBy(t.Context(), bySKU.Eq("one"))
	st.on.Store(true)
	if _, err := items.Modify(t.Context(), one.ID, func(p *product) error { p.Name = "new"; return nil }); err != nil {
		t.Fatal(err)
	}
	got := awaitAudits(t, c, 2)
	if got.Inconsistent != [3]uint64{1, 1, 1} {
		t.Errorf("inconsistent %v of %v", got.Inconsistent, got.Audited)
	}
}

// deaf is a store that confirms invalidations and does nothing.
type deaf struct {
	*memstore.Store
	on atomic.Bool
}

func (s *deaf) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	if s.on.Load() && ops[0].Kind == store.Invalidate {
		clear(replies)
		return nil
	}
	return s.Store.Do(ctx, ops, replies)
}

// However much is read, the auditor takes what its rate allows, and keeps no more.
func TestAuditorIsBounded(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Timeout: time.Second, Audit: cachedrepo.Audit{Hits: 1, Rate: 5}})
	items := cachedrepo.Wrap(c, s.plain)
	one := s.insert(t, "one")
	began := time.Now()
	for range 5000 {
		find(t, items, one.ID)
	}
	most := 1 + int(time.Since(began)/(200*time.Millisecond))
	if n := cachedrepo.AuditQueue(c); n < 1 || n > most {
		t.Errorf("%d samples, want 1 to %d", n, most)
	}
	if st := c.Stats(); st.AuditSkipped < 4000 {
		t.Errorf("%d skipped", st.AuditSkipped)
	}
}

// Of every n hits, and of every n changes, one is taken; it is looked at after a second, ten and sixty.
func TestAuditorTakesOneOfSome(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		cfg  cachedrepo.Audit
		want int
	}{
		"hits":    {cachedrepo.Audit{Hits: 7}, 2},
		"changes": {cachedrepo.Audit{Changes: 3}, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t)
			test.cfg.Rate = 1e9
			c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Timeout: time.Second, Audit: test.cfg})
			items := cachedrepo.Wrap(c, s.plain)
			one := s.insert(t, "one")
			for range 11 { // with the insert 12 changes
				if _, err := items.Modify(t.Context(), one.ID, func(p *product) error { p.Name += "x"; return nil }); err != nil {
					t.Fatal(err)
				}
			}
			for range 1 + 20 { // the first is no hit
				find(t, items, one.ID)
			}
			if n := cachedrepo.AuditQueue(c); n != test.want {
				t.Errorf("%d samples, want %d", n, test.want)
			}
			if ages := cachedrepo.AuditAges(c); ages != [3]time.Duration{time.Second, 10 * time.Second, time.Minute} {
				t.Errorf("looks after %v", ages)
			}
		})
	}
}

func find(t *testing.T, items interface {
	Find(ctx context.Context, id int64) (product, error)
}, id int64,
) product {
	t.Helper()
	p, err := items.Find(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A value can be read from its key, unless a hash stands for it.
func TestParseKey(t *testing.T) {
	type record struct {
		ID   int64   `db:"id"`
		Name string  `db:"name"`
		Flag bool    `db:"flag"`
		Raw  []byte  `db:"raw"`
		May  *string `db:"may"`
	}
	type pair struct {
		Name string `db:"name"`
		ID   int64  `db:"id"`
	}
	byName, byFlag, byRaw := model.NewUnique[record, string]("name"), model.NewUnique[record, bool]("flag"), model.NewUnique[record, []byte]("raw")
	byMay, byPair := model.NewUnique[record, string]("may"), model.NewUnique[record, pair]()
	rel := model.MustTable(model.Spec[record, int64]{
		Name: "app.records", Key: "id", Indexes: model.Indexes[record]{byName, byFlag, byRaw, byMay, byPair},
	}).Relation()
	text := func(s string) model.Datum { return model.Datum{Kind: model.Text, Text: s} }
	number := func(n int64) model.Datum { return model.Datum{Kind: model.Int, Int: n} }
	for _, tt := range []struct {
		access *model.Access
		data   []model.Datum
		ok     bool
	}{
		{rel.Key, []model.Datum{number(-7)}, true},
		{byName.Access(), []model.Datum{text("")}, true},
		{byName.Access(), []model.Datum{text("a:b%c #{x}\x00ü")}, true},
		{byName.Access(), []model.Datum{text(strings.Repeat("x", 129))}, false},
		{byFlag.Access(), []model.Datum{{Kind: model.Bool, Int: 1}}, true},
		{byRaw.Access(), []model.Datum{{Kind: model.Bytes, Text: "\x00\xff"}}, true},
		{byMay.Access(), []model.Datum{text("x")}, true},
		{byPair.Access(), []model.Datum{text("x:y"), number(3)}, true},
	} {
		key, back, ok := cachedrepo.ParseKey(rel, tt.access, tt.data)
		if ok != tt.ok || ok && !slices.Equal(back, tt.data) {
			t.Errorf("%s: read %v (%t), want %v (%t)", key, back, ok, tt.data, tt.ok)
		}
	}
}

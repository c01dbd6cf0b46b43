package cachedrepo_test

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// ownShop is a shop on a PostgreSQL of its own, which loses what was committed in the last moments when it crashes.
func ownShop(t *testing.T) (*shop, *testenv.OwnPG) {
	t.Helper()
	pg := testenv.NewPostgres(t, "-c", "synchronous_commit=off", "-c", "wal_writer_delay=10000")
	conn, sent := openCounted(t, pg.URL())
	if _, err := conn.Exec(shopSchema); err != nil {
		t.Fatal(err)
	}
	db := txhooks.New(conn, txhooks.Config{})
	return &shop{pg.PG, conn, db, repo.New(db, products), sent}, pg
}

// Hazard 13: the cache has a row that the database never had. The crash is that of one backend: the postmaster goes on, and
// with it its start time; or that of all.
func TestIncarnationAfterLostCommits(t *testing.T) {
	t.Parallel()
	s, pg := ownShop(t)
	st := redisstore.New(testenv.Redis(t).Client(t))
	ns := testenv.Redis(t).Prefix()
	r := s.process(t, st, ns, cachedrepo.Config{Incarnation: 20 * time.Millisecond})
	never := s.process(t, st, ns+"n", cachedrepo.Config{Incarnation: -1})
	p := s.insert(t, "A-1")
	crashes := uint64(0)
	for n, crash := range []func(){
		func() {
			if err := syscall.Kill(one[int](t, s, `SELECT pg_backend_pid()`), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
		func() {
			pg.Kill()
			pg.Start()
		},
	} {
		lost := fmt.Sprint("lost ", n)
		for is := ""; is != "old"; { // the server writes its log of its own accord, too: then the commit was not lost
			if _, err := s.conn.Exec(`UPDATE products SET name = 'old'`); err != nil {
				t.Fatal(err)
			}
			if _, err := s.conn.Exec(`CHECKPOINT`); err != nil { // what there is until now stays
				t.Fatal(err)
			}
			for _, c := range []*process{r, never} {
				if err := c.cache.Invalidate(t.Context(), products.Row(p.ID)); err != nil {
					t.Fatal(err)
				}
			}
			s.moveTo(t, p.ID, lost, r, never)
			crash()
			crashes++
			// 1. The database is back, without the last commit.
			until(t, "the database", func() bool { return s.conn.Get(&is, `SELECT name FROM products`) == nil })
			start := time.Now()
			until(t, "the crash to be noticed", func() bool { return r.cache.Stats().Moved == crashes })
			t.Logf("found out %s after the database was back", time.Since(start).Round(time.Millisecond))
		}
		// 2. Who asks which database it is stops using the row, and who starts now never does.
		r.reads(t, p.ID, "old")
		if c := r.cache.Stats(); c.Epoch == 0 || c.Moved != crashes {
			t.Errorf("%d values of another epoch, moved %d times", c.Epoch, c.Moved)
		}
		s.process(t, st, ns, cachedrepo.Config{Incarnation: time.Hour}).reads(t, p.ID, "old")
		// 3. Who does not ask has it for a TTL.
		never.hits(t, p.ID, lost)
		if err := never.cache.Invalidate(t.Context(), products.Row(p.ID)); err != nil {
			t.Fatal(err)
		}
	}
}

// moveTo renames a row in a commit that will be lost, and has processes cache it.
func (s *shop) moveTo(t *testing.T, id int64, name string, all ...*process) {
	t.Helper()
	for _, p := range all {
		p.reads(t, id, "old")
	}
	all[0].rename(t, id, name)
	for _, p := range all {
		if err := p.cache.Invalidate(t.Context(), products.Row(id)); err != nil {
			t.Fatal(err)
		}
		p.reads(t, id, name)
		p.hits(t, id, name)
	}
}

// An orderly restart loses nothing, and what is cached stays.
func TestIncarnationOrderlyRestart(t *testing.T) {
	t.Parallel()
	s, pg := ownShop(t)
	st := redisstore.New(testenv.Redis(t).Client(t))
	r := s.process(t, st, testenv.Redis(t).Prefix(), cachedrepo.Config{Incarnation: 20 * time.Millisecond})
	p := s.insert(t, "A-1")
	r.reads(t, p.ID, "old")
	pid := pg.Pid()
	if err := syscall.Kill(pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	until(t, "the end of the server", func() bool { time.Sleep(5 * time.Millisecond); return pg.Pid() == 0 })
	r.hits(t, p.ID, "old") // while it is away
	pg.Start()
	before := r.cache.Stats().IncarnationErrors
	var is string
	until(t, "the database", func() bool { return s.conn.Get(&is, `SELECT name FROM products`) == nil })
	other := s.process(t, st, r.ns, cachedrepo.Config{Incarnation: time.Hour}) // which has to ask
	other.hits(t, p.ID, "old")
	r.hits(t, p.ID, "old")
	if c := r.cache.Stats(); c.Moved != 0 || before == 0 {
		t.Errorf("moved %d times, %d errors", c.Moved, before)
	}
}

// A database that is away when a process starts has not said which it is: nothing is read from the store until it has.
func TestIncarnationUnknown(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	st := redisstore.New(testenv.Redis(t).Client(t))
	ns := testenv.Redis(t).Prefix()
	p := s.insert(t, "A-1")
	first := s.process(t, st, ns, cachedrepo.Config{Incarnation: time.Hour})
	first.reads(t, p.ID, "old")
	db, proxy := unreachable(t, s.pg)
	c, err := cachedrepo.New(db, st, cachedrepo.Config{Namespace: ns, Tables: model.Tables{products}, Incarnation: 20 * time.Millisecond, Timeout: patience, Logger: silent(), Probe: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(t.Context()) })
	late := cachedrepo.Wrap(c, repo.New(db, products))
	if _, err := late.Find(t.Context(), p.ID); err == nil {
		t.Error("a value of nobody knows which database was used")
	}
	if err := proxy.Accept(); err != nil {
		t.Fatal(err)
	}
	until(t, "a hit", func() bool {
		_, err := late.Find(t.Context(), p.ID)
		return err == nil && c.Stats().Hits > 0
	})
	if c := c.Stats(); c.Epoch != 0 || c.Moved != 0 {
		t.Errorf("it takes its database for another: %+v", c)
	}
}

// Databases that differ in one respect are not the same: another cluster whose database has the same oid and timeline, another
// database of a cluster, and a standby that was promoted.
func TestIncarnationDiffers(t *testing.T) {
	t.Parallel()
	is := func(url string) uint64 {
		t.Helper()
		conn, _ := openCounted(t, url)
		id, err := cachedrepo.Incarnation(t.Context(), txhooks.New(conn, txhooks.Config{}))
		if err != nil || id == 0 {
			t.Fatalf("%x, %v", id, err)
		}
		return id
	}
	first, second := testenv.NewPostgres(t), testenv.NewPostgres(t)
	standby := first.NewStandby(t)
	here := is(first.URL())
	if is(first.URL()) != here || is(standby.URL()) != here {
		t.Error("the same database is another")
	}
	if is(second.URL()) == here {
		t.Error("a database of another cluster is the same")
	}
	one, other := testenv.Postgres(t), testenv.Postgres(t)
	if is(one.URL()) == is(other.URL()) {
		t.Error("another database of the cluster is the same")
	}
	standby.CatchUp()
	standby.Promote()
	if is(standby.URL()) == here {
		t.Error("a standby that was promoted is the same")
	}
	if is(first.URL()) != here {
		t.Error("the former primary is another")
	}
}

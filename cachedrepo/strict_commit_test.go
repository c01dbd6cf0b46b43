package cachedrepo_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

// waiting is a server on which COMMIT waits for a standby that never comes, for those who want it: the one thing in
// PostgreSQL that no setting limits. The row that was changed is old to everybody else for as long.
type waiting struct {
	*shop
	pg *testenv.OwnPG
}

func newWaiting(t *testing.T) *waiting {
	t.Helper()
	pg := testenv.NewPostgres(t, "-c", "synchronous_standby_names=nobody", "-c", "synchronous_commit=local")
	s := (&shop{pg: pg.PG}).again(t, pg.URL())
	if _, err := s.conn.ExecContext(t.Context(), shopSchema); err != nil {
		t.Fatal(err)
	}
	return &waiting{s, pg}
}

// url is that of connections whose COMMIT waits.
func (w *waiting) url(addr string) string {
	url := w.pg.URLThrough(addr)
	if strings.Contains(url, "?") {
		return url + "&synchronous_commit=on"
	}
	return url + "?synchronous_commit=on"
}

const stuck = `FROM pg_stat_activity WHERE wait_event = 'SyncRep'`

func (w *waiting) awaitStuck(t *testing.T) {
	t.Helper()
	until(t, "COMMIT to wait", func() bool { return one[int](t, w.shop, `SELECT count(*) `+stuck) == 1 })
}

// release ends the wait: the row becomes visible.
func (w *waiting) release(t *testing.T) {
	t.Helper()
	if _, err := w.conn.ExecContext(t.Context(), `SELECT pg_cancel_backend(pid) `+stuck); err != nil {
		t.Fatal(err)
	}
	until(t, "the commit", func() bool { return one[string](t, w.shop, `SELECT name FROM products`) == "new" })
}

// COMMIT is stuck in the server. While its writer lives, nobody stores the old row, however long it takes. When the writer
// has lost its connection, the intents stay until their deadline: a server that gets to its end before that is safe.
func TestStrictCommitIsStuck(t *testing.T) {
	t.Parallel()
	s := newWaiting(t)
	for _, test := range []struct {
		name   string
		strict cachedrepo.StrictConfig
		cut    bool // the writer's connection, while COMMIT is stuck
		late   bool // the server comes to its end after the deadline
	}{
		{"the writer lives", soon, false, true},
		{"in doubt", cachedrepo.StrictConfig{Deadline: patience}, true, false},
		{"in doubt for too long", soon, true, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s.empty(t)
			p := s.insert(t, "A-1")
			st := memstore.New(memstore.Config{})
			proxy := faults.NewPostgresProxy(t, s.pg.Addr())
			r := s.strictly(t, st, "shop", cachedrepo.Config{})
			w := s.strictlyAt(t, s.url(proxy.Addr()), st, "shop", cachedrepo.Config{Strict: test.strict})
			repeat := make(chan time.Time)
			cachedrepo.RepeatBy(w.cache, func(time.Duration) <-chan time.Time { return repeat })
			r.reads(t, p.ID, "old")

			// 1. W's COMMIT is stuck.
			w1 := w.renaming(t.Context(), p.ID, "new")
			s.awaitStuck(t)
			begun := time.Now()
			if test.cut {
				// 2. W loses its connection. It does not know, and leaves its intents.
				proxy.Cut()
				if _, err := w1.wait(t); !errors.Is(err, model.ErrInDoubt) {
					t.Fatalf("%v, want in doubt", err)
				}
			}
			// 3. R reads the old row, which it is, and stores nothing.
			r.reads(t, p.ID, "old")
			if test.late && !test.cut {
				within(3*soon.Deadline/2, func() {
					if got := r.store.state(t, r.key(p)); got.State != store.Intent {
						t.Fatalf("%s after COMMIT the key holds %+v", time.Since(begun), got)
					}
				})
			}
			if test.late && test.cut {
				// The deadline passes: R stores the old row. This is what nothing in the database prevents.
				comes(t, "the deadline", func() bool { return r.store.state(t, r.key(p)).State != store.Intent })
				r.reads(t, p.ID, "old")
				r.hits(t, p.ID, "old")
			} else if fills := r.cache.Stats().Fills; fills != 1 {
				t.Errorf("%d fills, want the one before the write", fills)
			}
			// 4. The server comes to its end.
			s.release(t)
			if test.late && test.cut {
				// 5. The invalidation that is repeated ends it.
				r.hits(t, p.ID, "old")
				gone := w.store.park(t, "after invalidate", about(p))
				repeat <- time.Time{}
				gone.wait(t)
				gone.goOn()
			}
			r.reads(t, p.ID, "new")
			if !test.cut {
				if _, err := w1.wait(t); err != nil {
					t.Fatal(err)
				}
				r.reads(t, p.ID, "new")
				r.hits(t, p.ID, "new")
				if n := w.cache.Stats().Lost; n != 0 {
					t.Errorf("%d intents lost", n)
				}
			}
		})
	}
}

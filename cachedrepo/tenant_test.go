package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

const notesSchema = `CREATE TABLE notes (
	tenant bigint NOT NULL,
	id bigint NOT NULL,
	slug text NOT NULL,
	body text NOT NULL,
	PRIMARY KEY (tenant, id),
	UNIQUE (tenant, slug))`

type note struct {
	Tenant int64  `db:"tenant"`
	ID     int64  `db:"id"`
	Slug   string `db:"slug"`
	Body   string `db:"body"`
}

var (
	bySlug = model.NewUnique[note, string]("slug")
	notes  = model.MustTable(model.Spec[note, int64]{
		Name: "notes", Key: "id", Scope: "tenant", Indexes: model.Indexes[note]{bySlug},
	})
)

type tenantKey struct{}

func tenant(ctx context.Context, id int64) context.Context {
	return context.WithValue(ctx, tenantKey{}, id)
}

func tenantOf(ctx context.Context) (any, error) { return ctx.Value(tenantKey{}), nil }

// notebook is a database in which each tenant has notes.
type notebook struct {
	db     *txhooks.DB
	cache  *cachedrepo.Cache
	plain  *repo.SQL[note, int64]
	cached repo.Repository[note, int64]
}

func newNotebook(t *testing.T, st store.Store, namespace string) *notebook {
	t.Helper()
	conn, _ := openCounted(t, testenv.PostgresWith(t, notesSchema).URL())
	db := txhooks.New(conn, txhooks.Config{Scope: tenantOf})
	c, err := cachedrepo.New(db, st, cachedrepo.Config{
		Namespace: namespace, Tables: model.Tables{notes}, Timeout: patience, WriteTimeout: patience, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	plain := repo.New(db, notes)
	return &notebook{db, c, plain, cachedrepo.Wrap(c, repo.Repository[note, int64](plain))}
}

// Two tenants with the same keys and the same slugs read and write at once, through every method. A row of the other's is
// never seen, nor is an older one of the own.
func TestTenantsNeverSeeEachOther(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, st store.Store, namespace string) {
		t.Parallel()
		book := newNotebook(t, st, namespace)
		plain, cached := book.plain, book.cached
		const ids = 4
		for _, who := range []int64{1, 2} {
			for id := range int64(ids) {
				_, err := cached.Insert(tenant(t.Context(), who), note{ID: id + 1, Slug: fmt.Sprint("s", id+1), Body: fmt.Sprint(who, ":0")})
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		var group sync.WaitGroup
		for _, who := range []int64{1, 2} {
			ctx := tenant(t.Context(), who)
			prefix := fmt.Sprint(who, ":")
			mine := func(recs ...note) {
				for _, n := range recs {
					if n.Tenant != who || !strings.HasPrefix(n.Body, prefix) {
						t.Errorf("tenant %d sees %+v", who, n)
					}
				}
			}
			var written [ids + 1]struct {
				sync.Mutex
				n int
			}
			for range 4 {
				group.Go(func() {
					for range 60 {
						id := rand.Int64N(ids) + 1
						slug := fmt.Sprint("s", id)
						switch rand.IntN(6) {
						case 0:
							w := &written[id]
							w.Lock()
							next := w.n + 1
							n, err := cached.Modify(ctx, id, func(n *note) error { n.Body = fmt.Sprint(prefix, next); return nil })
							if err != nil {
								t.Error(err)
							}
							w.n = next
							w.Unlock()
							mine(n)
						case 1:
							n, err := cached.FindBy(ctx, bySlug.Eq(slug))
							if err != nil {
								t.Error(err)
							}
							mine(n)
						case 2:
							recs, err := cached.FindMany(ctx, []int64{1, 2, 3, 4, 99})
							if err != nil || len(recs) != ids {
								t.Errorf("%d rows, %v", len(recs), err)
							}
							mine(recs...)
						case 3:
							recs, err := repo.FindManyBy(ctx, cached, bySlug, []string{"s1", slug, "none"})
							if err != nil {
								t.Error(err)
							}
							mine(recs...)
						case 4:
							w := &written[id]
							w.Lock()
							floor := w.n
							w.Unlock()
							n, err := cached.Find(ctx, id)
							var got int
							if _, serr := fmt.Sscanf(n.Body, prefix+"%d", &got); err != nil || serr != nil || got < floor {
								t.Errorf("tenant %d, row %d: %+v after version %d: %v", who, id, n, floor, err)
							}
							mine(n)
						case 5:
							if _, err := plain.Find(ctx, 77); !errors.Is(err, model.ErrNotFound) {
								t.Error(err)
							}
							if _, err := cached.Find(ctx, 77); !errors.Is(err, model.ErrNotFound) {
								t.Error(err)
							}
						}
					}
				})
			}
		}
		group.Wait()
	})
}

// "Not found" is one tenant's, and an insert of the other's ends nothing and hides nothing.
func TestTenantsHaveTheirOwnAbsence(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, st store.Store, namespace string) {
		t.Parallel()
		book := newNotebook(t, st, namespace)
		c, cached := book.cache, book.cached
		one, two := tenant(t.Context(), 1), tenant(t.Context(), 2)
		if _, err := cached.Find(one, 5); !errors.Is(err, model.ErrNotFound) {
			t.Fatal(err)
		}
		if _, err := cached.Insert(two, note{ID: 5, Slug: "five", Body: "two"}); err != nil {
			t.Fatal(err)
		}
		if n, err := cached.Find(two, 5); err != nil || n.Body != "two" || n.Tenant != 2 {
			t.Errorf("%+v, %v", n, err)
		}
		before := c.Stats().Hits
		if _, err := cached.Find(one, 5); !errors.Is(err, model.ErrNotFound) {
			t.Error(err)
		}
		if c.Stats().Hits != before+1 {
			t.Error("the other tenant's insert ended this one's entry")
		}
		if _, err := cached.Insert(one, note{ID: 5, Slug: "five", Body: "one"}); err != nil {
			t.Fatal(err)
		}
		for ctx, want := range map[context.Context]string{one: "one", two: "two"} {
			if n, err := cached.FindBy(ctx, bySlug.Eq("five")); err != nil || n.Body != want {
				t.Errorf("%+v, %v, want %s", n, err, want)
			}
		}
	})
}

// Without a tenant nothing is answered, whether it is cached or not, and nothing is sent.
func TestNoScope(t *testing.T) {
	t.Parallel()
	book := newNotebook(t, memstore.New(memstore.Config{}), "notes")
	c, plain, cached := book.cache, book.plain, book.cached
	one := tenant(t.Context(), 1)
	if _, err := cached.Insert(one, note{ID: 1, Slug: "a", Body: "b"}); err != nil {
		t.Fatal(err)
	}
	if _, err := cached.Find(one, 1); err != nil {
		t.Fatal(err)
	}
	view := c.View("notes")
	loads := 0
	for name, call := range map[string]func(ctx context.Context) error{
		"Find":          func(ctx context.Context) error { _, err := cached.Find(ctx, 1); return err },
		"Find, plain":   func(ctx context.Context) error { _, err := plain.Find(ctx, 1); return err },
		"Find, bypass":  func(ctx context.Context) error { _, err := cached.Find(cachedrepo.Bypass(ctx), 1); return err },
		"FindBy":        func(ctx context.Context) error { _, err := cached.FindBy(ctx, bySlug.Eq("a")); return err },
		"FindMany":      func(ctx context.Context) error { _, err := cached.FindMany(ctx, []int64{1}); return err },
		"FindMany of 0": func(ctx context.Context) error { _, err := cached.FindMany(ctx, nil); return err },
		"FindManyBy": func(ctx context.Context) error {
			_, err := repo.FindManyBy(ctx, cached, bySlug, []string{"a"})
			return err
		},
		"View": func(ctx context.Context) error {
			_, err := cachedrepo.Find(ctx, view, notes.Row(1), func(context.Context) (note, error) { loads++; return note{}, nil })
			return err
		},
		"Insert":     func(ctx context.Context) error { _, err := cached.Insert(ctx, note{ID: 2}); return err },
		"InsertMany": func(ctx context.Context) error { _, err := plain.InsertMany(ctx, []note{{ID: 2}}); return err },
		"Upsert":     func(ctx context.Context) error { _, err := plain.Upsert(ctx, note{ID: 2}, notes); return err },
		"Modify": func(ctx context.Context) error {
			_, err := cached.Modify(ctx, 1, func(*note) error { return nil })
			return err
		},
		"Delete": func(ctx context.Context) error { return cached.Delete(ctx, 1) },
		"UpdateWhere": func(ctx context.Context) error {
			_, err := plain.UpdateWhere(ctx, repo.Bulk{Set: "body = ''", Where: "TRUE"})
			return err
		},
		"DeleteWhere": func(ctx context.Context) error {
			_, err := plain.DeleteWhere(ctx, repo.Bulk{Where: "TRUE"})
			return err
		},
		"Where": func(ctx context.Context) error { _, err := plain.Where(ctx, "TRUE"); return err },
		"All": func(ctx context.Context) error {
			for _, err := range plain.All(ctx) {
				return err
			}
			return nil
		},
		"Write": func(ctx context.Context) error {
			return view.Write(ctx, model.Refs{notes.Row(1)}, func(context.Context) error { return nil })
		},
		"Invalidate": func(ctx context.Context) error { return c.Invalidate(ctx, notes.Row(1)) },
	} {
		if err := call(t.Context()); !errors.Is(err, model.ErrNoScope) || !strings.Contains(err.Error(), "notes") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if loads > 0 {
		t.Error("a load ran without a tenant")
	}
	if n, err := plain.Find(one, 1); err != nil || n.Body != "b" {
		t.Errorf("%+v, %v", n, err)
	}
}

// Hand-written SQL of one tenant, touched in its context, ends that tenant's entries, and Write of one leaves the other's.
func TestTouchInScope(t *testing.T) {
	t.Parallel()
	stores(t, func(t *testing.T, st store.Store, namespace string) {
		t.Parallel()
		book := newNotebook(t, st, namespace)
		c, cached := book.cache, book.cached
		one, two := tenant(t.Context(), 1), tenant(t.Context(), 2)
		for _, ctx := range []context.Context{one, two} {
			if _, err := cached.Insert(ctx, note{ID: 1, Slug: "a", Body: "old"}); err != nil {
				t.Fatal(err)
			}
			if _, err := cached.FindBy(ctx, bySlug.Eq("a")); err != nil {
				t.Fatal(err)
			}
		}
		err := c.View("notes").Write(one, model.Refs{notes.Row(1)}, func(ctx context.Context) error {
			_, err := book.db.ExecContext(ctx, "UPDATE notes SET body = 'new' WHERE tenant = 1 AND id = 1")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := cached.FindBy(one, bySlug.Eq("a")); err != nil || n.Body != "new" {
			t.Errorf("%+v, %v", n, err)
		}
		before := c.Stats().Hits
		if n, err := cached.FindBy(two, bySlug.Eq("a")); err != nil || n.Body != "old" {
			t.Errorf("%+v, %v", n, err)
		}
		if c.Stats().Hits == before {
			t.Error("the other tenant's entry is gone")
		}
	})
}

// A view whose SQL forgets the tenant returns what it found and leaves nothing behind.
func TestForeignRowIsNotStored(t *testing.T) {
	t.Parallel()
	book := newNotebook(t, memstore.New(memstore.Config{}), "notes")
	c, plain, cached := book.cache, book.plain, book.cached
	one, two := tenant(t.Context(), 1), tenant(t.Context(), 2)
	if _, err := plain.Insert(two, note{ID: 9, Slug: "nine", Body: "two"}); err != nil {
		t.Fatal(err)
	}
	n, err := cachedrepo.Find(one, c.View("notes"), notes.Row(9), func(context.Context) (note, error) {
		return plain.Find(two, 9)
	})
	if err != nil || n.Tenant != 2 {
		t.Fatalf("%+v, %v", n, err)
	}
	if _, err := cached.Find(one, 9); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("the foreign row was stored: %v", err)
	}
	if c.Stats().Elsewhere != 1 {
		t.Errorf("%+v", c.Stats())
	}
}

// One transaction may write for several tenants, each with its own context: the rows of each are told apart although they
// have the same key. Of a table without indexes the key alone is the image, with the scope.
func TestTouchInSeveralScopes(t *testing.T) {
	t.Parallel()
	bare := model.MustTable(model.Spec[note, int64]{Name: "notes", Key: "id", Scope: "tenant"})
	for name, table := range map[string]*model.Table[note, int64]{"with an index": notes, "key alone": bare} {
		t.Run(name, func(t *testing.T) {
			conn, _ := openCounted(t, testenv.PostgresWith(t, notesSchema).URL())
			db := txhooks.New(conn, txhooks.Config{Scope: tenantOf})
			c, err := cachedrepo.New(db, memstore.New(memstore.Config{}), cachedrepo.Config{
				Namespace: "notes", Tables: model.Tables{table}, Timeout: patience, Logger: silent(),
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close(context.Background()) })
			cached := cachedrepo.Wrap(c, repo.Repository[note, int64](repo.New(db, table)))
			tenants := []int64{1, 2, 3}
			for _, who := range tenants {
				ctx := tenant(t.Context(), who)
				if _, err := cached.Insert(ctx, note{ID: 1, Slug: "old", Body: "old"}); err != nil {
					t.Fatal(err)
				}
				if _, err := cached.Find(ctx, 1); err != nil {
					t.Fatal(err)
				}
				if table == notes {
					if _, err := cached.FindBy(ctx, bySlug.Eq("old")); err != nil {
						t.Fatal(err)
					}
				}
			}
			err = db.Run(t.Context(), func(ctx context.Context) error {
				for _, who := range tenants[:2] {
					if err := txhooks.Touch(tenant(ctx, who), table.Row(1)); err != nil {
						return err
					}
				}
				_, err := db.ExecContext(ctx, "UPDATE notes SET body = 'new', slug = 'new' WHERE id = 1 AND tenant < 3")
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			before := c.Stats().Hits
			for i, who := range tenants {
				ctx, want := tenant(t.Context(), who), []string{"new", "new", "old"}[i]
				if n, err := cached.Find(ctx, 1); err != nil || n.Body != want || n.Tenant != who {
					t.Errorf("tenant %d: %+v, %v", who, n, err)
				}
				if table == notes {
					if _, err := cached.FindBy(ctx, bySlug.Eq("old")); (err == nil) != (want == "old") {
						t.Errorf("tenant %d, the old slug: %v", who, err)
					}
				}
			}
			if hits := c.Stats().Hits - before; hits == 0 {
				t.Error("the third tenant's entry is gone too")
			}
		})
	}
}

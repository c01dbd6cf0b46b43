package cachedrepotest_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/cachedrepotest"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/txwatch"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const schema = `
CREATE TABLE authors (id bigint PRIMARY KEY, name text NOT NULL);
CREATE TABLE books (id bigint PRIMARY KEY, author bigint NOT NULL REFERENCES authors ON DELETE CASCADE, title text NOT NULL);
INSERT INTO authors VALUES (1, 'Ada'), (2, 'Bo');
INSERT INTO books VALUES (10, 1, 'Notes'), (20, 2, 'Songs');`

type author struct {
	ID   int64  `db:"id"`
	Name string `db:"name"`
}

type book struct {
	ID     int64  `db:"id"`
	Author int64  `db:"author"`
	Title  string `db:"title"`
}

var (
	authors = model.MustTable(model.Spec[author, int64]{Name: "authors", Key: "id"})
	books   = model.MustTable(model.Spec[book, int64]{Name: "books", Key: "id"})
)

// suspect is a test that may fail.
type suspect struct {
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (s *suspect) Helper() {}

func (s *suspect) Errorf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failures = append(s.failures, fmt.Sprintf(format, args...))
}

func (s *suspect) Cleanup(f func()) { s.cleanups = append(s.cleanups, f) }

// end ends the test and returns how it failed.
func (s *suspect) end() []string {
	for _, f := range s.cleanups {
		f()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failures
}

// library is an application with a cache in which all rows are.
type library struct {
	db      *txhooks.DB
	past    *sqlx.DB // watched, but no transaction of txhooks
	authors repo.Repository[author, int64]
	books   repo.Repository[book, int64]
}

func newLibrary(t *testing.T, tb cachedrepotest.TB) *library {
	t.Helper()
	connector, err := pq.NewConnector(testenv.PostgresWith(t, schema).URL())
	if err != nil {
		t.Fatal(err)
	}
	tables := model.Tables{authors, books}
	var audit *cachedrepotest.Auditor
	conn := sqlx.NewDb(sql.OpenDB(txwatch.Connector(connector, txwatch.Config{Tables: tables, Report: func(ctx context.Context, w txwatch.Write) {
		audit.Wrote(ctx, w)
	}})), "postgres")
	t.Cleanup(func() { _ = conn.Close() })
	db := txhooks.New(conn, txhooks.Config{})
	c, err := cachedrepo.New(db, memstore.New(memstore.Config{}), cachedrepo.Config{
		Namespace: "library", Tables: tables, Allow: []string{"cascade:books"},
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	audit = cachedrepotest.Audit(tb, db, c)
	l := &library{db, conn, cachedrepo.Wrap(c, repo.New(db, authors)), cachedrepo.Wrap(c, repo.New(db, books))}
	for n := range int64(2) {
		if _, err := l.authors.Find(t.Context(), n+1); err != nil {
			t.Fatal(err)
		}
		if _, err := l.books.Find(t.Context(), 10*(n+1)); err != nil {
			t.Fatal(err)
		}
	}
	return l
}

func TestAudit(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		write func(ctx context.Context, l *library) error
		want  []string // what the failure must say; nil: there is none
	}{
		"repository": {func(ctx context.Context, l *library) error {
			_, err := l.books.Modify(ctx, 10, func(b *book) error { b.Title = "More notes"; return nil })
			return err
		}, nil},
		"rolled back": {func(ctx context.Context, l *library) error {
			_ = l.db.Run(ctx, func(ctx context.Context) error {
				_, _ = l.db.ExecContext(ctx, "UPDATE books SET title = 'x'")
				return sql.ErrTxDone
			})
			return nil
		}, nil},
		"a statement without Touch": {func(ctx context.Context, l *library) error {
			_, err := l.db.ExecContext(ctx, "UPDATE books SET title = 'x' WHERE id = 10")
			return err
		}, []string{
			"after a transaction that was committed", "books.id=10 (key library:books:id:10)", `title is "Notes" in the entry and "x" in the database`,
			"UPDATE, in a transaction that was not told: UPDATE books SET title = 'x' WHERE id = 10",
		}},
		"past the library": {func(ctx context.Context, l *library) error {
			_, err := l.past.ExecContext(ctx, "DELETE FROM books WHERE id = 20")
			return err
		}, []string{"at the end of the test", "books.id=20", "has a row that is not there", "outside any transaction: DELETE FROM books WHERE id = 20"}},
		"a cascade": {func(ctx context.Context, l *library) error {
			return l.authors.Delete(ctx, 1)
		}, []string{"after a transaction that was committed", "books.id=10", "has a row that is not there", "nobody reported a change of books", "cascade"}},
		"one row of two": {func(ctx context.Context, l *library) error {
			return l.db.Run(ctx, func(ctx context.Context) error {
				if err := txhooks.Touch(ctx, books.Row(10)); err != nil {
					return err
				}
				_, err := l.db.ExecContext(ctx, "UPDATE books SET title = 'x'")
				return err
			})
		}, []string{"books.id=20", "changes of books were reported, but not of this row"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := new(suspect)
			l := newLibrary(t, s)
			if err := tt.write(t.Context(), l); err != nil {
				t.Fatal(err)
			}
			failures := s.end()
			if tt.want == nil {
				if len(failures) > 0 {
					t.Errorf("failed with %s", failures)
				}
				return
			}
			if len(failures) != 1 {
				t.Fatalf("failed %d times, want once: %s", len(failures), failures)
			}
			for _, part := range tt.want {
				if !strings.Contains(failures[0], part) {
					t.Errorf("says %s\nwithout %q", failures[0], part)
				}
			}
		})
	}
}

// The first transaction that leaves a wrong entry is named, not the ones after it.
func TestAuditSaysItOnce(t *testing.T) {
	t.Parallel()
	s := new(suspect)
	l := newLibrary(t, s)
	for _, query := range []string{"UPDATE books SET title = 'x' WHERE id = 10", "UPDATE authors SET name = 'x' WHERE id = 3"} {
		if _, err := l.db.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	if failures := s.end(); len(failures) != 1 || !strings.Contains(failures[0], "books.id=10") {
		t.Errorf("failed with %s", failures)
	}
}

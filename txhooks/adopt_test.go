package txhooks

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/model"
)

func adopt(t *testing.T, db *DB) (context.Context, *Adopted, *sqlx.Tx) {
	t.Helper()
	tx, err := db.conn.Beginx()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	ctx, a, err := db.Adopt(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	return ctx, a, tx
}

func TestAdoptCommits(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		r := &recorder{pending: 3}
		defer db.Subscribe(r)()
		exec(t, db, t.Context(), "INSERT INTO users VALUES (1, 'a@x', 7), (2, 'b@x', 7)")
		tx, err := db.conn.Beginx()
		if err != nil {
			t.Fatal(err)
		}
		outside, rep := WithReport(t.Context())
		ctx, a, err := db.Adopt(outside, tx)
		if err != nil {
			t.Fatal(err)
		}
		// What the owner sends, what goes through db, and what is nested are one transaction.
		if err := Touch(ctx, users.Row(1)); err != nil {
			t.Error(err)
		}
		tx.MustExec("UPDATE users SET email = 'c@x' WHERE id = 1")
		insert(t, db, ctx, 1)
		AfterCommit(ctx, r.hook("commit"))
		AfterEnd(ctx, r.end("end"))
		err = db.Run(ctx, func(ctx context.Context) error {
			insert(t, db, ctx, 2)
			_ = db.Savepoint(ctx, func(ctx context.Context) error {
				insert(t, db, ctx, 3)
				AfterCommit(ctx, r.hook("undone"))
				return errBoom
			})
			return db.Changed(ctx, change(2))
		})
		if err != nil {
			t.Error(err)
		}
		type own struct{}
		commit := context.WithValue(t.Context(), own{}, true)
		BeforeCommit(ctx, func(ctx context.Context) error {
			r.add("before commit")
			insert(t, db, ctx, 4)
			if _, ok := ctx.Value(reportKey{}).(*reporting); !ok || ctx.Value(own{}) != nil {
				t.Error("a BeforeCommit hook has the values of Commit's context instead of Adopt's")
			}
			return nil
		})
		if !db.In(ctx) || db.In(outside) {
			t.Error("In")
		}
		wantNotes(t, db, "")
		if err := a.Commit(commit); err != nil {
			t.Error(err)
		}
		r.want(t, "before commit", "subscriber committed", "commit", "end committed")
		if got := strings.Join(r.take(), " "); got != ">2 1,a@x,7>1,c@x,7" {
			t.Errorf("changes: %s", got)
		}
		if rep.Pending != 3 {
			t.Errorf("pending: %d", rep.Pending)
		}
		wantNotes(t, db, "1 2 4")
		// It is over, in every way to ask.
		for what, err := range map[string]error{
			"Commit": a.Commit(t.Context()), "Rollback": a.Rollback(), "Run": db.Run(ctx, func(context.Context) error { return nil }),
		} {
			if !errors.Is(err, ErrFinished) || !errors.Is(err, sql.ErrTxDone) || !strings.HasSuffix(err.Error(), "already committed") {
				t.Errorf("%s: %v", what, err)
			}
		}
		idle(t, db)
	})
}

func TestAdoptRollsBack(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for name, tc := range map[string]struct {
			in   func(ctx context.Context, tx *sqlx.Tx)
			end  func(a *Adopted) error
			want string
		}{
			"Rollback": {nil, (*Adopted).Rollback, ""},
			"BeforeCommit": {
				func(ctx context.Context, _ *sqlx.Tx) {
					BeforeCommit(ctx, func(context.Context) error { return errBoom })
				}, nil, "boom",
			},
			"Run within": {
				func(ctx context.Context, _ *sqlx.Tx) {
					_ = db.Run(ctx, func(context.Context) error { return errBoom })
				}, nil, "aside: rolled back: a Run within it failed: boom",
			},
			"dropped failure": {
				func(ctx context.Context, _ *sqlx.Tx) { _, _ = db.ExecContext(ctx, "SELECT nowhere") }, nil, "its error was dropped",
			},
			"the owner's dropped failure": {
				func(_ context.Context, tx *sqlx.Tx) { _, _ = tx.Exec("SELECT nowhere") }, nil, "its error was dropped",
			},
			"context of Commit": {nil, func(a *Adopted) error {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				return a.Commit(ctx)
			}, "context canceled"},
		} {
			ctx, a, tx := adopt(t, db)
			r := &recorder{}
			cancel := db.Subscribe(r)
			insert(t, db, ctx, 1)
			AfterCommit(ctx, r.hook("commit"))
			AfterEnd(ctx, r.end("end"))
			if err := db.Changed(ctx, change(1)); err != nil {
				t.Error(err)
			}
			if tc.in != nil {
				tc.in(ctx, tx)
			}
			if tc.end == nil {
				tc.end = func(a *Adopted) error { return a.Commit(t.Context()) }
			}
			err := tc.end(a)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%s: %v", name, err)
			}
			r.want(t, "subscriber rolled back", "end rolled back")
			cancel()
		}
		wantNotes(t, db, "")
		idle(t, db)
		// A hook that panics leaves no transaction open.
		ctx, a, _ := adopt(t, db)
		BeforeCommit(ctx, func(context.Context) error { panic("this goes on") })
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic is gone")
				}
			}()
			_ = a.Commit(t.Context())
		}()
		idle(t, db)
	})
}

// The owner ends it himself. Whether he committed, database/sql does not say: what changed is told as in doubt.
func TestAdoptEndedByItsOwner(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for name, way := range behind {
			for _, commit := range []bool{true, false} {
				exec(t, db, t.Context(), "DELETE FROM note")
				r := &recorder{}
				cancel := db.Subscribe(r)
				ctx, a, tx := adopt(t, db)
				insert(t, db, ctx, 1)
				insert(t, db, ctx, 2)
				_ = Touch(ctx, notesTable.Row(2))
				AfterCommit(ctx, r.hook("commit"))
				AfterEnd(ctx, r.end("end"))
				if err := way.end(tx); err != nil {
					t.Fatal(err)
				}
				err := a.Rollback
				if commit {
					err = func() error { return a.Commit(t.Context()) }
				}
				if err := err(); !errors.Is(err, ErrEndedOutside) || !errors.Is(err, model.ErrInDoubt) {
					t.Errorf("%s, Commit is called: %t: %v", name, commit, err)
				}
				r.want(t, "subscriber in doubt", "end in doubt")
				if got := strings.Join(r.take(), " "); got != "2>2" {
					t.Errorf("%s: changes: %s", name, got)
				}
				wantNotes(t, db, way.left)
				cancel()
			}
		}
		idle(t, db)
	})
}

func TestAdoptRefuses(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		other := open(t, "postgres", Config{})
		begin := func(db *DB) *sqlx.Tx {
			tx, err := db.conn.Beginx()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = tx.Rollback() })
			return tx
		}
		refused := func(ctx context.Context, tx *sqlx.Tx, want string) {
			t.Helper()
			same, a, err := db.Adopt(ctx, tx)
			if err == nil || a != nil || same != ctx || !strings.HasPrefix(err.Error(), "aside: Adopt: ") || !strings.Contains(err.Error(), want) {
				t.Errorf("Adopt: %v, want %s", err, want)
			}
		}
		refused(t.Context(), nil, "nil")
		refused(t.Context(), begin(other), "of another pool")
		done := begin(db)
		_ = done.Commit()
		refused(t.Context(), done, "is over: sql: transaction has already been committed or rolled back")
		failed := begin(db)
		_, _ = failed.Exec("SELECT nowhere")
		refused(t.Context(), failed, "can only roll back")
		ctx, a, tx := adopt(t, db)
		refused(t.Context(), tx, "adopted already")
		refused(ctx, begin(db), "has a transaction of this pool already")
		_ = a.Rollback()
		refused(ctx, begin(db), "has already rolled back")
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		refused(gone, begin(db), "context canceled")
		_ = db.Run(t.Context(), func(ctx context.Context) error {
			own, _ := db.Tx(ctx)
			refused(t.Context(), own, "one of Run")
			return nil
		})
		// A transaction of another database around it is none of ours.
		err := other.Run(t.Context(), func(ctx context.Context) error {
			ctx, a, err := db.Adopt(ctx, begin(db))
			if err != nil {
				return err
			}
			insert(t, db, ctx, 1)
			insert(t, other, ctx, 2)
			return a.Commit(ctx)
		})
		if err != nil {
			t.Error(err)
		}
		wantNotes(t, db, "1")
		wantNotes(t, other, "2")
	})
}

// Commit from two goroutines: one commits, and the hooks run once.
func TestAdoptCommitTwice(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		ctx, a, _ := adopt(t, db)
		insert(t, db, ctx, 1)
		var j journal
		AfterCommit(ctx, j.hook("commit"))
		errs := make(chan error, 8)
		var all sync.WaitGroup
		for range cap(errs) {
			all.Go(func() { errs <- a.Commit(t.Context()) })
		}
		all.Wait()
		close(errs)
		committed := 0
		for err := range errs {
			if err == nil {
				committed++
			} else if !errors.Is(err, ErrFinished) {
				t.Error(err)
			}
		}
		if committed != 1 {
			t.Errorf("%d commits", committed)
		}
		j.want(t, "commit")
		// Not while somebody is inside.
		ctx, a, _ = adopt(t, db)
		err := db.Run(ctx, func(ctx context.Context) error {
			insert(t, db, ctx, 2)
			return a.Commit(t.Context())
		})
		if !errors.Is(err, ErrConcurrent) {
			t.Errorf("Commit within Run: %v", err)
		}
		wantNotes(t, db, "1")
	})
}

func TestAdoptCommitAnswerLost(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, direct *sqlx.DB) {
		ctx, a, _ := adopt(t, db)
		insert(t, db, ctx, 1)
		var j journal
		AfterEnd(ctx, j.end("end"))
		proxy.CutAfterCommit()
		if err := a.Commit(t.Context()); !errors.Is(err, model.ErrInDoubt) || errors.Is(err, ErrEndedOutside) {
			t.Errorf("Commit: %v", err)
		}
		j.want(t, "end in doubt")
		if got := notesOf(t, direct); got != "1" {
			t.Errorf("rows in the table: %q", got)
		}
	})
}

// One that nobody ends is kept by nothing of ours, and leaves a line in the log.
func TestAdoptNeverEnded(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var log bytes.Buffer
	db := open(t, "postgres", Config{Logger: slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), nil))})
	var tr weak.Pointer[transaction]
	var key weak.Pointer[sql.Tx]
	func() {
		tx, err := db.conn.Beginx()
		if err != nil {
			t.Fatal(err)
		}
		ctx, a, err := db.Adopt(t.Context(), tx)
		if err != nil {
			t.Fatal(err)
		}
		insert(t, db, ctx, 1)
		tr, key = weak.Make(a.tx), weak.Make(tx.Tx)
		if err := tx.Commit(); err != nil { // past Adopted
			t.Error(err)
		}
	}()
	gone := func() bool {
		known.mu.Lock()
		defer known.mu.Unlock()
		_, there := known.txs[key]
		mu.Lock()
		defer mu.Unlock()
		return tr.Value() == nil && !there && strings.Contains(log.String(), "never ended")
	}
	for deadline := time.Now().Add(10 * time.Second); !gone(); runtime.Gosched() {
		runtime.GC()
		if time.Now().After(deadline) {
			t.Fatalf("transaction kept: %t, log: %s", tr.Value() != nil, log.String())
		}
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

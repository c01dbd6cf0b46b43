package txhooks

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestHookOrder(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		r := &recorder{pending: 2}
		r.ended = func(ctx context.Context) {
			if db.In(ctx) || ctx.Err() != nil {
				t.Errorf("subscriber: in a transaction %t, context %v", db.In(ctx), ctx.Err())
			}
			wantNotes(t, db, "1 2 3")
		}
		defer db.Subscribe(r)()
		defer db.Subscribe(r)() // twice: both count
		ctx, rep := WithReport(t.Context())
		err := db.Run(ctx, func(ctx context.Context) error {
			AfterEnd(ctx, r.end("end 1"))
			AfterCommit(ctx, func(ctx context.Context) {
				r.add("commit 1")
				if db.In(ctx) {
					t.Error("a hook is in the transaction")
				}
				if err := db.Run(ctx, func(ctx context.Context) error { insert(t, db, ctx, 4); return nil }); err != nil {
					t.Error(err)
				}
				AfterCommit(ctx, r.hook("nested commit"))
			})
			BeforeCommit(ctx, func(ctx context.Context) error {
				r.add("before 1")
				insert(t, db, ctx, 2)
				AfterCommit(ctx, r.hook("commit 3"))
				BeforeCommit(ctx, func(ctx context.Context) error {
					r.add("before 3")
					insert(t, db, ctx, 3)
					return nil
				})
				return nil
			})
			BeforeCommit(ctx, func(context.Context) error { r.add("before 2"); return nil })
			AfterCommit(ctx, r.hook("commit 2"))
			insert(t, db, ctx, 1)
			return db.Changed(ctx, change(1))
		})
		if err != nil {
			t.Fatal(err)
		}
		r.want(t, "before 1", "before 2", "before 3", "subscriber committed", "subscriber committed",
			"commit 1", "nested commit", "commit 2", "commit 3", "end 1 committed")
		wantNotes(t, db, "1 2 3 4")
		if rep.Pending != 4 {
			t.Errorf("pending: %d", rep.Pending)
		}
	})
}

func TestBeforeCommitFails(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		var j journal
		err := db.Run(t.Context(), func(ctx context.Context) error {
			insert(t, db, ctx, 1)
			AfterCommit(ctx, j.hook("commit"))
			AfterEnd(ctx, j.end("end"))
			BeforeCommit(ctx, func(context.Context) error { return errBoom })
			BeforeCommit(ctx, func(context.Context) error { j.add("second hook"); return nil })
			return nil
		})
		if err != errBoom {
			t.Errorf("Run: %v", err)
		}
		j.want(t, "end rolled back")
		wantNotes(t, db, "")
	})
}

// A hook that was given under a deadline of a part of fn is not bound by it.
func TestBeforeCommitOutlivesInnerDeadline(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		type key struct{}
		err := db.Run(t.Context(), func(ctx context.Context) error {
			ctx, cancel := context.WithCancel(context.WithValue(ctx, key{}, "value"))
			defer cancel()
			BeforeCommit(ctx, func(ctx context.Context) error {
				if ctx.Value(key{}) != "value" {
					t.Error("the value is gone")
				}
				insert(t, db, ctx, 1)
				return nil
			})
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		wantNotes(t, db, "1")
	})
}

func TestPanickingHooks(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(){"a hook panicked": func() { panic("boom") }, "a hook ended its goroutine": runtime.Goexit} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			db := open(t, "postgres", Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			r := &recorder{}
			bad := &recorder{ended: func(context.Context) { leave() }}
			defer db.Subscribe(bad)()
			defer db.Subscribe(r)()
			ctx, rep := WithReport(t.Context())
			var gone sync.WaitGroup
			gone.Go(func() {
				err := db.Run(ctx, func(ctx context.Context) error {
					insert(t, db, ctx, 1)
					for _, hook := range []string{"commit 1", "commit 2"} {
						AfterCommit(ctx, func(context.Context) { r.add(hook); leave() })
					}
					AfterEnd(ctx, func(context.Context, Outcome) { r.add("end 1"); leave() })
					AfterEnd(ctx, r.end("end 2"))
					return db.Changed(ctx, change(1))
				})
				if err != nil {
					t.Error(err)
				}
				r.add("Run returned")
			})
			gone.Wait()
			lines := []string{"subscriber committed", "commit 1", "commit 2", "end 1", "end 2 committed"}
			if strings.Contains(name, "panic") {
				lines = append(lines, "Run returned")
			}
			r.want(t, lines...)
			wantNotes(t, db, "1")
			if n := strings.Count(log.String(), name); n != 4 || db.HookFailures() != 4 || !strings.Contains(log.String(), "hooks_test.go") {
				t.Errorf("%d lines, %d counted:\n%s", n, db.HookFailures(), log.String())
			}
			if rep.Pending != 1 {
				t.Errorf("pending: %d, want one for the subscriber that did not say", rep.Pending)
			}
			idle(t, db)
		})
	}
}

// Subscribers take their time; hooks have theirs nevertheless, and all hooks together have one.
func TestHookDeadlines(t *testing.T) {
	t.Parallel()
	db := open(t, "postgres", Config{HookTimeout: 50 * time.Millisecond})
	r := &recorder{ended: func(ctx context.Context) { <-ctx.Done() }}
	defer db.Subscribe(r)()
	err := db.Run(t.Context(), func(ctx context.Context) error {
		AfterCommit(ctx, func(ctx context.Context) {
			if ctx.Err() != nil {
				t.Error("the subscriber used up the hooks' time")
			}
			<-ctx.Done()
			r.add("first")
		})
		AfterCommit(ctx, func(ctx context.Context) {
			if ctx.Err() == nil {
				t.Error("the second hook has a deadline of its own")
			}
			r.add("second")
		})
		return db.Changed(ctx, change(1))
	})
	if err != nil {
		t.Error(err)
	}
	r.want(t, "subscriber committed", "first", "second")
}

func TestHooksWithoutTransaction(t *testing.T) {
	t.Parallel()
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	AfterCommit(ctx, func(ctx context.Context) {
		if _, ok := ctx.Deadline(); ctx.Err() != nil || !ok {
			t.Error("the hook's context ends with the caller's, or never")
		}
		j.add("commit")
	})
	AfterEnd(ctx, j.end("end"))
	BeforeCommit(ctx, func(context.Context) error { j.add("before"); return nil })
	AfterCommit(ctx, func(context.Context) { panic("this is logged") })
	j.want(t, "commit", "end committed", "before")
}

func TestHooksOnFinishedContext(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		db.config.Logger = silent()
		var j journal
		give := func(ctx context.Context) {
			AfterCommit(ctx, func(ctx context.Context) {
				if db.In(ctx) {
					t.Error("the hook is in the transaction")
				}
				j.add("commit")
			})
			AfterEnd(ctx, j.end("end"))
			BeforeCommit(ctx, func(context.Context) error { j.add("before"); return nil })
		}
		var stale context.Context
		_ = db.Run(t.Context(), func(ctx context.Context) error { stale = ctx; return nil })
		give(stale)
		_ = db.Run(t.Context(), func(ctx context.Context) error { stale = ctx; return errBoom })
		give(stale)
		j.want(t, "commit", "end committed", "end rolled back")
		// Given from within a hook with the context of fn: after the hooks that were given before.
		_ = db.Run(t.Context(), func(ctx context.Context) error {
			AfterCommit(ctx, func(context.Context) { give(ctx); j.add("given") })
			AfterCommit(ctx, j.hook("second"))
			return nil
		})
		j.want(t, "commit", "end committed", "end rolled back", "given", "second", "commit", "end committed")
	})
}

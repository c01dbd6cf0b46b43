package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/asidego/aside/internal/faultpoint"
)

// Options are for one transaction.
type Options struct {
	Isolation sql.IsolationLevel
	ReadOnly  bool
	Retries   int // of fn, whole, on 40001 and 40P01; 0: none. fn must start from scratch each time
}

// Run runs fn in a transaction carried by fn's context, commits if fn returns nil, and returns when the cache and the
// hooks have run. Within a transaction of the same database it joins that one; if fn then fails, all of it rolls
// back, even if the caller drops the error: the outermost Run returns an error that wraps it. A panic or runtime.Goexit in
// fn rolls back and goes on.
//
// If fn fails its error is returned as it is. A lost answer to COMMIT is a *model.Error that matches model.ErrInDoubt; any
// other error means that nothing was written. A cache that is away is not an error: see WithReport.
//
// A statement's error that fn drops still rolls back, as PostgreSQL does; Run's error then wraps it. Use Savepoint to go
// on after a failed statement.
func (db *DB) Run(ctx context.Context, fn func(ctx context.Context) error) error {
	return db.RunWith(ctx, Options{}, fn)
}

// RunWith is Run with options; it fails where they contradict the transaction that it would join: by another isolation
// level, or by asking for a read-only one that is not. Retries is for the Run that begins the transaction; when joining
// nothing is retried. Hooks and changes of an attempt that is retried are dropped, AfterEnd included.
func (db *DB) RunWith(ctx context.Context, opts Options, fn func(ctx context.Context) error) error {
	if f := db.frame(ctx); f != nil {
		return f.tx.join(ctx, f, opts, fn)
	}
	if err := db.Outer(ctx); err != nil {
		return err
	}
	for retries := opts.Retries; ; retries-- {
		again, err := db.attempt(ctx, opts, retries > 0, fn)
		if !again {
			return err
		}
	}
}

// attempt runs fn in a transaction of its own. again: it is as if it had never been.
func (db *DB) attempt(ctx context.Context, opts Options, mayRetry bool, fn func(ctx context.Context) error) (again bool, err error) {
	t, err := db.begin(ctx, opts)
	if err != nil {
		return false, err
	}
	faultpoint.At(faultpoint.AfterBegin)
	bottom := t.tip
	leave := func() {}
	if db.config.RefuseOuter {
		leave = db.pool.outer.enter(ctx)
	}
	returned := false
	defer func() {
		if !returned { // fn or a BeforeCommit hook panicked or ended the goroutine
			leave()
			o, _ := t.giveUp(errEnded)
			t.end(o)
		}
	}()
	var o Outcome
	if err = fn(bottom.context(ctx)); err == nil {
		o, err = t.commit(bottom)
	} else {
		o, err = t.giveUp(err)
	}
	returned = true
	leave()
	if mayRetry && o == RolledBack && ctx.Err() == nil && retryable(err) {
		if t.guarded {
			t.notify(o)
		}
		t.close()
		return true, nil
	}
	t.end(o)
	return false, err
}

func retryable(err error) bool {
	state := sqlState(err)
	return state == "40001" || state == "40P01"
}

// join runs fn in the transaction of f.
func (t *transaction) join(ctx context.Context, f *frame, opts Options, fn func(ctx context.Context) error) (err error) {
	returned := false
	defer func() {
		switch {
		case !returned:
			t.doom(errEnded)
		case err != nil:
			t.doom(err)
		}
	}()
	var inner *frame
	if inner, err = t.enter(f); err != nil {
		t.breaks(err) // the savepoint that is open may be another goroutine's
	} else {
		defer t.leave(inner)
		if err = t.options.contradiction(opts); err == nil {
			err = fn(inner.context(ctx))
		}
	}
	returned = true
	return err
}

func (o Options) contradiction(inner Options) error {
	if inner.Isolation != sql.LevelDefault && inner.Isolation != o.Isolation {
		return fmt.Errorf("aside: RunWith asks for isolation level %s within a transaction of level %s", inner.Isolation, o.Isolation)
	}
	if inner.ReadOnly && !o.ReadOnly {
		return errors.New("aside: RunWith asks for a read-only transaction within one that writes")
	}
	return nil
}

package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/jmoiron/sqlx"
)

// Adopted is a transaction that somebody else began. End it with Commit or Rollback, not with the methods of the *sqlx.Tx:
// subscribers and hooks would not hear of it.
type Adopted struct {
	tx    *transaction
	begun *atomic.Bool // ending has: guards against a second time
}

// Adopt makes a transaction that somebody else began on db's pool what Run makes of its own: statements through db on the
// context returned join it, repositories report to it, and Touch, hooks, Savepoint and Run within it work. It is for
// frameworks that begin and end transactions themselves (a unit of work); they call Commit or Rollback of what Adopt returns
// in place of the transaction's.
//
// It fails for a transaction that is over, that can only roll back because a statement failed, that is adopted already or
// that DB.Tx gave away, and in a context that has a transaction of this pool. One of another pool is refused too, as far as
// database/sql shows it.
//
// Statements through the *sqlx.Tx pass us by, so Touch reads at once, and the server is asked when the transaction began,
// now and before COMMIT: see ErrEndedOutside.
//
// What Adopt keeps is reachable from the context and from what it returns, and from nothing else: one that is never
// ended goes with them, and says so in the log. So does what it was told was changed, of which no cache hears.
func (db *DB) Adopt(ctx context.Context, tx *sqlx.Tx) (context.Context, *Adopted, error) {
	refuse := func(err error) (context.Context, *Adopted, error) {
		return ctx, nil, fmt.Errorf("aside: Adopt: %w", err)
	}
	if tx == nil || tx.Tx == nil {
		return refuse(errors.New("the transaction is nil"))
	}
	if f := db.frame(ctx); f != nil {
		f.tx.mu.Lock()
		defer f.tx.mu.Unlock()
		if err := f.tx.finished(); err != nil {
			return refuse(err)
		}
		return refuse(errors.New("the context has a transaction of this pool already"))
	}
	if otherPool(tx.Tx, db.sql()) {
		return refuse(errors.New("the transaction is one of another pool"))
	}
	t := &transaction{
		db: db, id: newID(), caller: ctx, outer: innermost(ctx), tx: tx, cancel: func() {}, shared: true,
	}
	t.tip = &frame{tx: t}
	at, err := t.ask(ctx)
	switch {
	case errors.Is(err, sql.ErrTxDone):
		return refuse(fmt.Errorf("the transaction is over: %w", err))
	case err != nil:
		return refuse(explain(ctx, err))
	case at == 0:
		return refuse(errors.New("a statement of the transaction has failed: it can only roll back"))
	}
	if !known.add(tx.Tx) {
		return refuse(errors.New("the transaction is adopted already, or is one of Run"))
	}
	t.witness = at
	a := &Adopted{t, new(atomic.Bool)}
	runtime.AddCleanup(t, func(never never) {
		if !never.begun.Load() {
			never.log.Error("aside: an adopted transaction was never ended by Adopted.Commit or Adopted.Rollback: what it changed was not told")
		}
	}, never{a.begun, t.logger()})
	return t.tip.context(ctx), a, nil
}

type never struct {
	begun *atomic.Bool
	log   *slog.Logger
}

// Commit does what Run does when its function has returned nil, with its order, its errors and its outcomes: it may roll
// back, after an error within that was dropped or when ctx has ended. BeforeCommit hooks get the values of theirs and end with ctx. If the
// transaction has ended without us, nothing is sent and the error matches ErrEndedOutside; what was changed is then
// told as in doubt.
func (a *Adopted) Commit(ctx context.Context) error {
	return a.end(func(t *transaction, bottom *frame) (Outcome, error) {
		t.caller = valuesContext{ctx, t.caller}
		return t.commit(bottom)
	})
}

// Rollback does what Run does when its function has failed. After Commit its error matches sql.ErrTxDone, so that it can
// be deferred.
func (a *Adopted) Rollback() error {
	return a.end(func(t *transaction, _ *frame) (Outcome, error) { return t.giveUp(nil) })
}

func (a *Adopted) end(how func(t *transaction, bottom *frame) (Outcome, error)) error {
	t := a.tx
	if !a.begun.CompareAndSwap(false, true) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return finishedError{t.outcome}
	}
	t.mu.Lock()
	bottom := t.tip
	for bottom.parent != nil {
		bottom = bottom.parent
	}
	t.mu.Unlock()
	returned := false
	defer func() {
		if !returned { // a BeforeCommit hook panicked or ended the goroutine
			o, _ := t.giveUp(errEnded)
			t.end(o)
		}
	}()
	o, err := how(t, bottom)
	returned = true
	t.end(o)
	return err
}

// otherPool tells whether tx was begun on another pool than db. database/sql does not say so; its Tx has a field db, and if
// one day it has not, nobody is refused.
func otherPool(tx *sql.Tx, db *sql.DB) bool {
	field := reflect.ValueOf(tx).Elem().FieldByName("db")
	return field.IsValid() && field.Type() == reflect.TypeFor[*sql.DB]() && field.Pointer() != reflect.ValueOf(db).Pointer()
}

// known are the transactions that were adopted, or handed out by Tx: whoever has one can come to Adopt with it, on any
// context. It keeps none of them.
var known knownTxs

type knownTxs struct {
	mu  sync.Mutex
	txs map[weak.Pointer[sql.Tx]]struct{}
}

// add returns false if tx is known already.
func (k *knownTxs) add(tx *sql.Tx) bool {
	key := weak.Make(tx)
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.txs[key]; ok {
		return false
	}
	if k.txs == nil {
		k.txs = make(map[weak.Pointer[sql.Tx]]struct{})
	}
	k.txs[key] = struct{}{}
	runtime.AddCleanup(tx, func(key weak.Pointer[sql.Tx]) {
		k.mu.Lock()
		defer k.mu.Unlock()
		delete(k.txs, key)
	}, key)
	return true
}

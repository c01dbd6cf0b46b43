package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/asidego/aside/model"
)

// ErrEndedOutside says that a transaction had ended before Run was to commit it or to roll it back: by a COMMIT or ROLLBACK
// through DB.Tx, or by the owner of a transaction that was adopted. The outcome is InDoubt, and the error matches
// model.ErrInDoubt too: what was done up to there may have been committed, and what came after it has been or has not.
var ErrEndedOutside = errors.New("aside: the transaction was ended behind Run's back")

// witnessQuery asks for something that only one transaction of a connection has. What goes through DB.Tx passes
// refuseControl by, and the server answers COMMIT after COMMIT with a mere warning.
//
// The time at which the transaction began tells them apart: it is that of the message which began it, in microseconds, and
// two messages are further apart (a BEGIN behind a COMMIT in one message has the time of that message, and COMMIT AND CHAIN
// that of its own; the one compared with came earlier). With no transaction open it is that of the query itself. The
// transaction id would be exact but is assigned late, so that a read at hand-out finds none; the virtual one is found in
// pg_locks alone, which locks all of the lock table. A clock set back by just the time between the two is not noticed.
//
// A savepoint would do without a clock, but is gone when the caller rolls back to an earlier one, and makes a
// subtransaction of all that follows.
const witnessQuery = "SELECT (extract(epoch FROM transaction_timestamp()) * 1000000)::bigint"

type witnessKey struct{}

// Ours tells whether ctx is the one with which Run begins its transactions, or Adopt looks at one: for drivers around the
// driver (see txwatch), which can so tell our transactions from others. No code outside a driver sees such a context.
func Ours(ctx context.Context) bool { return ctx.Value(witnessKey{}) != nil }

// Told tells whether the transaction that ctx (see Ours) belongs to is about to commit and has been told of changes of a
// table, or of a place in it. While it is not about to commit, a COMMIT comes from somebody else, and nobody will be told.
func Told(ctx context.Context, table string) bool {
	t, ok := ctx.Value(witnessKey{}).(*transaction)
	if !ok {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ending && (slices.ContainsFunc(t.changes.relations(), func(rel *model.Relation) bool { return rel.Name == table }) ||
		slices.ContainsFunc(t.touched, func(p touch) bool { return p.rel.Name == table }))
}

// ourContext marks a context for Ours and Told.
type ourContext struct {
	context.Context
	t *transaction
}

func (c ourContext) Value(key any) any {
	if _, ok := key.(witnessKey); ok {
		return c.t
	}
	return c.Context.Value(key)
}

// ask returns the witness. 0, nil: a statement has failed and the server answers no query; nor will it commit.
func (t *transaction) ask(ctx context.Context) (at int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, rollbackTimeout)
	defer cancel()
	err = t.tx.QueryRowContext(ourContext{ctx, t}, witnessQuery).Scan(&at)
	if sqlState(err) == "25P02" {
		return 0, nil
	}
	return at, err
}

// see remembers the witness, once.
func (t *transaction) see(ctx context.Context) error {
	t.mu.Lock()
	seen := t.witness != 0
	t.mu.Unlock()
	if seen {
		return nil
	}
	// Not with ctx: a caller who drops the answer of Tx need not drop the transaction.
	at, err := t.ask(context.WithoutCancel(ctx))
	if err != nil {
		return fmt.Errorf("asking which transaction this is: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.witness = at
	return nil
}

// gone tells whether the transaction that was handed out is over. One with a failed statement is taken for what it was: it
// answers nothing, and by far most of them are. So COMMIT, BEGIN and a statement that fails, all past us and the error
// dropped, pass for a rollback.
func (t *transaction) gone(ctx context.Context) (bool, error) {
	t.mu.Lock()
	witness := t.witness
	t.mu.Unlock()
	if witness == 0 {
		return false, nil
	}
	at, err := t.ask(ctx)
	switch {
	case errors.Is(err, sql.ErrTxDone):
		return true, nil
	case err != nil:
		return false, err
	}
	return at != 0 && at != witness, nil
}

// still fails if the transaction is gone.
func (t *transaction) still(ctx context.Context) error {
	gone, err := t.gone(ctx)
	if gone {
		return ErrEndedOutside
	}
	return err
}

// giveUp rolls back because of err. The error returned is err, unless there was no transaction to roll back.
func (t *transaction) giveUp(err error) (Outcome, error) {
	t.mu.Lock()
	t.ending = true
	t.mu.Unlock()
	ctx := context.WithoutCancel(t.caller)
	if gone, _ := t.gone(ctx); !gone {
		t.rollback(RolledBack)
		return RolledBack, err
	}
	t.rollback(InDoubt)
	t.lookAround(ctx)
	switch {
	case err == nil:
		err = ErrEndedOutside
	case !errors.Is(err, ErrEndedOutside):
		err = fmt.Errorf("%w; its function returned: %w", ErrEndedOutside, err)
	}
	return InDoubt, &model.Error{Kind: model.ErrInDoubt, Err: err}
}

// lookAround collects what was touched by a transaction that is gone, as prepare does before COMMIT. Its connection says
// nothing of it any more; what others see now is what was committed of it, or has been written since: in either case the
// keys of the rows are among those that a reader can have filled.
func (t *transaction) lookAround(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, rollbackTimeout)
	defer cancel()
	t.mu.Lock()
	told := t.changes.mark()
	touched := t.touched
	t.mu.Unlock()
	if len(touched) == 0 {
		return
	}
	t.look = t.db.conn
	err := t.readAfter(ctx)
	if err == nil {
		return
	}
	t.logger().ErrorContext(ctx, "aside: what a transaction touched that was ended behind Run's back could not be read", "error", err)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changes.cut(told)
	t.changes.lose(err)
	for c := range t.before.all() {
		t.addChanges(ctx, []Change{{c.Relation, c.Before, c.Before}})
	}
	for _, p := range touched {
		t.changes.name(p.rel)
		if p.access != nil && p.access.Unique {
			image := imageAt(p)
			t.addChanges(ctx, []Change{{p.rel, image, image}})
		}
	}
}

package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

var (
	// ErrFinished is matched by what happens on the context of a transaction that is over; so is sql.ErrTxDone.
	ErrFinished = errors.New("aside: this context's transaction is over")

	// ErrConcurrent is returned by Run and Savepoint if another Run or Savepoint within the same transaction is under way
	// on another goroutine, or around this call with a context of its own that should have been used.
	ErrConcurrent = errors.New("aside: another Run or Savepoint is open in this transaction: use its innermost context, from one goroutine")

	errOutside = errors.New("outside a transaction")
	errPrepare = errors.New("aside: PrepareContext outside a transaction: the statement could not join one")
	errEnded   = errors.New("its function panicked or ended its goroutine")
)

// finishedError says how the transaction of a context ended.
type finishedError struct{ outcome Outcome }

func (e finishedError) Error() string {
	switch e.outcome {
	case Committed:
		return "aside: this context's transaction has already committed"
	case RolledBack:
		return "aside: this context's transaction has already rolled back"
	case InDoubt:
		return "aside: this context's transaction has already ended in doubt"
	}
	return "aside: this context's transaction is already ending"
}

// Is matches sql.ErrTxDone too, which code knows that was written for a *sql.Tx.
func (e finishedError) Is(target error) bool { return target == ErrFinished || target == sql.ErrTxDone }

// sqlState is the SQLSTATE in err, "" if there is none. Both lib/pq's and pgx's errors have it.
func sqlState(err error) string {
	var s interface{ SQLState() string }
	if errors.As(err, &s) {
		return s.SQLState()
	}
	return ""
}

// explain adds the context's error to a cancelled statement's: lib/pq reports 57014 alone, and a caller who asks
// errors.Is(err, context.DeadlineExceeded) should get the same answer from every driver.
func explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) || sqlState(err) != "57014" {
		return err
	}
	return fmt.Errorf("%w: %w", ctx.Err(), err)
}

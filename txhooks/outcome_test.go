package txhooks

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"
)

func TestOutcomeOf(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		err            error
		failed, shared bool
		want           Outcome
	}{
		{err: nil, want: Committed},
		{err: nil, failed: true, want: Committed}, // undone by a savepoint that we did not see
		{err: &pq.Error{Code: "23505"}, want: RolledBack},
		{err: &pgconn.PgError{Code: "40001"}, want: RolledBack},
		{err: fmt.Errorf("wrapped: %w", &pgconn.PgError{Code: "57014"}), want: RolledBack},
		{err: &pq.Error{Code: "08006"}, want: InDoubt},
		{err: &pgconn.PgError{Code: "57P01"}, want: InDoubt},
		{err: &pq.Error{Code: "57P02"}, want: InDoubt},
		{err: &pgconn.PgError{Code: "XX000"}, want: InDoubt},
		{err: &pq.Error{Code: "40003"}, want: InDoubt},
		{err: sql.ErrTxDone, want: RolledBack},
		{err: sql.ErrTxDone, shared: true, want: InDoubt},
		{err: pq.ErrInFailedTransaction, want: RolledBack},
		{err: pgx.ErrTxCommitRollback, want: RolledBack},
		{err: errors.New("Commit unexpectedly resulted in ROLLBACK"), want: RolledBack},
		{err: driver.ErrBadConn, want: InDoubt},
		{err: driver.ErrBadConn, failed: true, want: RolledBack},
		{err: driver.ErrBadConn, failed: true, shared: true, want: InDoubt},
		{err: io.ErrUnexpectedEOF, want: InDoubt},
		{err: context.Canceled, want: InDoubt},
		{err: errors.New("anything else"), want: InDoubt},
	} {
		if got := outcomeOf(tc.err, tc.failed, tc.shared); got != tc.want {
			t.Errorf("%v (failed %t, shared %t): %s, want %s", tc.err, tc.failed, tc.shared, got, tc.want)
		}
	}
}

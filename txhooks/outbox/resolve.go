package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/asidego/aside/txhooks"
)

// incarnation tells a server from the one that it was before a restart, and from its standbys.
const incarnation = "(extract(epoch FROM pg_postmaster_start_time()) * 1000000)::bigint"

// Resolve implements txhooks.Resolver: it looks for the transaction's own row on another connection.
//
//   - The row is there: the transaction was committed, for nobody else has its ID.
//   - It is not there, and the transaction does not run any more, on the server on which it began: it was rolled back.
//   - Anything else is not known. A COMMIT that is on its way, or waits for a standby, is waited for, within the bound.
//
// One statement sees both, so that the transaction cannot commit between the two looks. That the transaction is over is
// never believed by its number alone (hazard 6): after a crash that lost it another one may have the same number and be
// committed. Here the number only makes us wait: if another has it, we wait for that one in vain, or, when it is over, say
// what is true in any case, for a transaction whose row a recovered server does not have will never be committed by it.
//
// A server that was promoted, or another one behind the same name, may lack what the first has committed and perhaps still
// serves. It has another start time, to the microsecond; on one and the same server since one start neither system
// identifier nor timeline can have changed, as the transaction could write on it.
func (w *writer) Resolve(ctx context.Context, changes txhooks.Changes) (txhooks.Outcome, error) {
	o, err := w.resolve(ctx, changes)
	if o == txhooks.InDoubt {
		w.unresolved.Add(1)
	} else {
		w.resolved.Add(1)
	}
	return o, err
}

func (w *writer) resolve(ctx context.Context, changes txhooks.Changes) (txhooks.Outcome, error) {
	s, ok := w.recall(changes.ID())
	if !ok || s.xid == "" || w.doubt <= 0 {
		return txhooks.InDoubt, nil
	}
	ctx, cancel := context.WithTimeout(ctx, w.doubt)
	defer cancel()
	query := "SELECT EXISTS (SELECT FROM " + w.tables().outbox + " WHERE tx = $1::text::uuid), " +
		"NOT pg_visible_in_snapshot($2::text::xid8, pg_current_snapshot()), pg_is_in_recovery(), " + incarnation
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		var there, runs, standby bool
		var at int64
		err := w.pool.QueryRowContext(ctx, query, uuid(changes.ID()), s.xid).Scan(&there, &runs, &standby, &at)
		switch {
		case err != nil: // the server may be back in time
			err = fmt.Errorf("aside: outbox: %w", err)
		case there:
			return txhooks.Committed, nil
		case standby || at != s.incarnation:
			return txhooks.InDoubt, errElsewhere
		case !runs:
			return txhooks.RolledBack, nil
		default:
			err = errStillRuns
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return txhooks.InDoubt, err
		}
	}
}

var (
	errElsewhere = errors.New("aside: outbox: the server is not the one on which the transaction ran, or has been restarted")
	errStillRuns = errors.New("aside: outbox: the transaction is still under way")
)

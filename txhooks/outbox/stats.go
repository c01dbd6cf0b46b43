package outbox

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// Stats tells how an outbox is doing. The first four are of the whole consumer, as this process last saw it, a few seconds ago
// at most; the others count what this process has done since Start.
type Stats struct {
	Backlog   uint64        // rows that the consumer has to be told of, up to 10,000
	Lag       time.Duration // age of the oldest of these; without trouble it stays below Grace and Poll together
	Parked    uint64        // rows in aside_parked: somebody has to look at them
	Consumers uint64        // alive, of all names: rows wait for the slowest

	Staged       uint64 // rows that this process has written, one for each transaction and each 1,000 changes; of all outboxes of its pool
	Acknowledged uint64 // rows of these that were acknowledged because all was invalidated
	Delivered    uint64 // rows that the relay of this process has delivered
	Replayed     uint64 // rows that Replay has delivered once more
	Purged       uint64 // rows that this process has deleted

	Incomplete uint64 // rows that lack columns of an index of the consumer's, whose entries were all ended instead
	Unknown    uint64 // changes of tables that the consumer has nothing of
	Retired    uint64 // times that all entries were ended, for the consumer had expired
	Resolved   uint64 // COMMITs whose answer was lost and whose outcome was found; of all outboxes of the pool
	Unresolved uint64 // those whose outcome was not found
	Errors     uint64 // statements and deliveries that failed; they are tried again
}

type counters struct {
	backlog, parked, consumers           atomic.Uint64
	lag                                  atomic.Int64
	acked, delivered, replayed, purged   atomic.Uint64
	incomplete, unknown, retired, errors atomic.Uint64
	logged                               sync.Map // kinds of trouble
	parking                              struct {
		mu    sync.Mutex
		told  time.Time // when a parked row was logged last
		since int       // rows that were not
	}
}

// Stats returns the counts. They are read one by one.
func (o *Outbox) Stats() Stats {
	n, w := &o.count, o.writer
	return Stats{
		Backlog: n.backlog.Load(), Lag: time.Duration(n.lag.Load()), Parked: n.parked.Load(), Consumers: n.consumers.Load(),
		Staged: w.staged.Load(), Acknowledged: n.acked.Load(), Delivered: n.delivered.Load(), Replayed: n.replayed.Load(),
		Purged: n.purged.Load(), Incomplete: n.incomplete.Load(), Unknown: n.unknown.Load(), Retired: n.retired.Load(),
		Resolved: w.resolved.Load(), Unresolved: w.unresolved.Load(), Errors: n.errors.Load(),
	}
}

// measure counts what is left.
func (o *Outbox) measure(ctx context.Context) error {
	t := o.tables()
	var backlog, parked, consumers uint64
	if err := o.db.QueryRowContext(ctx, `SELECT
		(SELECT count(*) FROM (SELECT FROM `+t.outbox+` WHERE done_at IS NULL AND NOT acked @> ARRAY[$1::int] LIMIT 10000) open),
		(SELECT count(*) FROM `+t.parked+` WHERE consumer = $1::int),
		(SELECT count(*) FROM `+t.consumers+` WHERE expires_at > now())`, o.id.Load()).Scan(&backlog, &parked, &consumers); err != nil {
		return err
	}
	o.count.backlog.Store(backlog)
	o.count.parked.Store(parked)
	o.count.consumers.Store(consumers)
	return nil
}

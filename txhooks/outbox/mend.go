package outbox

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"time"

	"github.com/asidego/aside/model"
)

// What a row does not tell must not be lost. A row that lacks the columns of an index (hazard 2e: its writer does not know the
// index) may have changed any entry of that index; one that cannot be read, any of its table. So everything is ended that it
// may concern. Afterwards the former is as good as delivered, and the latter is parked: it has done no harm, but somebody
// should look at it.
//
// To end an index means to list all keys of the store. While a version of the program without the index runs, each of its writes asks
// for it; so the rows wait for one another, and the relay spends no more than a tenth of its time on it. All rows that were
// seen before the listing began are mended by it: their transactions have committed.

// restAfter is how long retirements wait for one another.
func restAfter(took time.Duration) time.Duration { return min(max(time.Second, 10*took), time.Minute) }

// mend ends what rows may concern, settles them and parks those that cannot be read. The rows are in nobody's hand
// meanwhile, for a listing takes as long as it takes; one process at a time does it.
func (c *carrier) mend(life context.Context, rows []*row) (err error) {
	turn, err := c.mayRetire(life)
	if err != nil {
		return err
	}
	if !turn {
		for _, r := range rows {
			c.waiting[r.id] = true
		}
		return nil
	}
	defer func() { err = errors.Join(err, c.retired(life)) }()
	start := time.Now()
	missed, all := missedBy(rows)
	var failed error
	if all {
		failed = c.o.consumer.RetireIndexes(life)
	} else if len(missed) > 0 {
		failed = c.o.consumer.RetireIndexes(life, missed...)
	}
	c.rest = time.Now().Add(restAfter(time.Since(start)))
	if failed != nil && away(life, failed) {
		return failed
	}
	ctx, cancel := context.WithTimeout(life, statementTimeout)
	defer cancel()
	tx, err := c.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	for _, r := range rows {
		why := r.spoiled
		if failed != nil { // a store that cannot list its keys
			why = failed
		}
		if why == nil {
			c.o.incomplete(r)
		} else if err := c.park(ctx, tx, r, why); err != nil {
			return err
		}
	}
	if err := c.settle(ctx, tx, rows); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	c.settled(rows)
	return nil
}

// mayRetire tells whether it is this process's turn: it has rested, and no other is at it. The lock is the connection's.
func (c *carrier) mayRetire(ctx context.Context) (ok bool, err error) {
	if time.Now().Before(c.rest) {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	err = c.conn.QueryRowContext(ctx, "SELECT pg_try_advisory_lock($1::int, $2::int)", retireLock, c.o.id.Load()).Scan(&ok)
	if err == nil && !ok {
		c.rest = time.Now().Add(time.Second)
	}
	return ok, err
}

func (c *carrier) retired(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	_, err := c.conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1::int, $2::int)", retireLock, c.o.id.Load())
	return err
}

// retireLock is the first half of the advisory locks of consumers; the second is the consumer's id.
const retireLock = 0x61736964 // "asid"

// missedBy are the indexes that rows miss; all: nobody knows which.
func missedBy(rows []*row) (missed []*model.Access, all bool) {
	for _, r := range rows {
		all = all || r.all
		for _, a := range r.missed {
			if !slices.Contains(missed, a) {
				missed = append(missed, a)
			}
		}
	}
	return missed, all
}

// incomplete logs the first row of each index.
func (o *Outbox) incomplete(r *row) {
	o.count.incomplete.Add(1)
	for _, a := range r.missed {
		if _, known := o.count.logged.LoadOrStore(a, true); !known {
			o.cfg.Logger.Warn("aside: changes come without the columns of an index: all its entries are ended each time, see docs/outbox.md",
				"consumer", o.name, "table", a.Relation().Name, "index", a.Name)
		}
	}
}

// park puts a copy of the row aside, for people.
func (c *carrier) park(ctx context.Context, tx *sql.Tx, r *row, why error) error {
	t := c.o.tables()
	_, err := tx.ExecContext(ctx, "INSERT INTO "+t.parked+" (id, consumer, tx, at, changes, error) SELECT id, $2::int, tx, at, changes, $3::text FROM "+
		t.outbox+" WHERE id = $1 ON CONFLICT DO NOTHING", r.id, c.o.id.Load(), why.Error())
	if err == nil {
		c.o.tellParked(r, why)
	}
	return err
}

// tellParked logs one row a minute: what is wrong with one is wrong with many, and all are in the table with their errors.
func (o *Outbox) tellParked(r *row, why error) {
	p := &o.count.parking
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.told.IsZero() && time.Since(p.told) < time.Minute {
		p.since++
		return
	}
	o.cfg.Logger.Error("aside: a row of the outbox cannot be delivered and was parked; the entries that it may concern were ended",
		"consumer", o.name, "row", r.id, "err", why, "others", p.since)
	p.told, p.since = time.Now(), 0
}

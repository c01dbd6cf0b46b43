package outbox

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// keep does everything that is not urgent: it prolongs the consumer's life, pays its debt, ends rows that waited for a
// consumer that has expired, deletes those that are done, and counts what is left.
func (o *Outbox) keep() {
	every := min(housekeeping, o.cfg.Expire/10)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var k keeper
	for {
		select {
		case <-timer.C:
		case <-o.ctx.Done():
			return
		}
		if o.try("keep", func(ctx context.Context) error { return o.live(ctx, &k) }) {
			o.try("sweep", func(ctx context.Context) error { return o.sweep(ctx, &k) })
			o.try("count", o.measure)
			if now := time.Now(); now.Sub(k.looked) >= lookForCapture {
				k.looked = now
				o.try("capture", func(ctx context.Context) error {
					_, err := o.writer.look(ctx, o.db)
					return err
				})
			}
			if now := time.Now(); now.Sub(k.purged) >= purgeEvery {
				if o.try("purge", o.purge) {
					k.purged = now
				}
			}
		}
		timer.Reset(every)
	}
}

const (
	housekeeping     = 2 * time.Second
	purgeEvery       = 10 * time.Second
	statementTimeout = 5 * time.Second
	manyRows         = 1000 // in one statement
)

// keeper is what keep remembers from one turn to the next.
type keeper struct {
	good   time.Time // when the last renewal that was answered was begun
	failed bool      // one since then was not answered: it may have taken effect late
	swept  string    // the consumers that were alive at the last sweep
	purged time.Time
	looked time.Time // for tables that are captured
}

// try runs f with a bound and reports its error.
func (o *Outbox) try(op string, f func(ctx context.Context) error) bool {
	ctx, cancel := context.WithTimeout(o.ctx, statementTimeout)
	defer cancel()
	if err := f(ctx); err != nil {
		o.trouble(op, err)
		return false
	}
	o.works(op)
	return true
}

// live keeps the consumer alive.
//
// A renewal finds the consumer alive and takes effect when its transaction commits. If that takes long, the consumer was
// dead for others in between. Whether it can have been is known from the last renewal that was answered.
func (o *Outbox) live(ctx context.Context, k *keeper) error {
	start := time.Now()
	if o.id.Load() != 0 && !k.failed && !k.good.IsZero() && start.Sub(k.good) < o.cfg.Expire/10 {
		return nil
	}
	owes, err := false, error(sql.ErrNoRows)
	if o.id.Load() != 0 {
		owes, err = o.renew(ctx)
	}
	if errors.Is(err, sql.ErrNoRows) {
		start, owes = time.Now(), true // or not: payDebt looks
		err = o.register(ctx)
	} else if late := k.failed || time.Since(start) > o.slack(); err == nil && late && !k.good.IsZero() && time.Since(k.good) > o.cfg.Expire-o.slack() {
		owes = true
		err = o.owe(ctx)
	}
	if k.failed = err != nil; err != nil {
		return err
	}
	k.good = start
	if owes {
		// Not within ctx: a million entries take a second or more.
		return o.payDebt(o.ctx)
	}
	return nil
}

// sweep ends the rows that were open for want of a consumer that is not alive any more: acknowledgements alone would never
// look at them again.
func (o *Outbox) sweep(ctx context.Context, k *keeper) error {
	t := o.tables()
	var alive string
	if err := o.db.QueryRowContext(ctx, "SELECT ARRAY(SELECT id FROM "+t.consumers+" WHERE expires_at > now() ORDER BY id)::text").Scan(&alive); err != nil {
		return err
	}
	if alive == k.swept || alive == "{}" {
		return nil
	}
	for {
		res, err := o.db.ExecContext(ctx, `WITH mine AS MATERIALIZED (
				SELECT id FROM `+t.outbox+` WHERE done_at IS NULL AND acked @> $1::text::int[] LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			UPDATE `+t.outbox+` o SET done_at = clock_timestamp() FROM mine WHERE o.id = mine.id`, alive, manyRows)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n < manyRows {
			if err == nil {
				k.swept = alive
			}
			return err
		}
	}
}

// purge deletes what has been done for longer than Keep.
func (o *Outbox) purge(ctx context.Context) error {
	for {
		res, err := o.db.ExecContext(ctx, `WITH old AS MATERIALIZED (
				SELECT id FROM `+o.tables().outbox+` WHERE done_at < now() - make_interval(secs => $1) ORDER BY done_at LIMIT $2 FOR UPDATE SKIP LOCKED
			)
			DELETE FROM `+o.tables().outbox+` o USING old WHERE o.id = old.id`, o.cfg.Keep.Seconds(), manyRows)
		if err != nil {
			return err
		}
		n, err := res.RowsAffected()
		if err != nil {
			return err
		}
		o.count.purged.Add(uint64(n))
		if n < manyRows {
			return nil
		}
	}
}

// purgeAlone is all there is to do for a process without a consumer.
func (o *Outbox) purgeAlone() {
	ticker := time.NewTicker(purgeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-o.ctx.Done():
			return
		}
		o.try("purge", func(ctx context.Context) error {
			if err := o.locate(ctx); err != nil {
				return err
			}
			return o.purge(ctx)
		})
	}
}

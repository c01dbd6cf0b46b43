package outbox

import (
	"context"
	"encoding/json"
	"time"
)

// A consumer is a row of aside_consumers, whose life the consumer's processes prolong. While it is alive no row of the outbox
// is done that it has not acknowledged. When it has expired, rows are done without it, and are deleted: what it has in its
// cache cannot be believed any more. It owes a retirement then, which is written down with its return, and crossed out when it
// has been made. Whoever of its processes sees the debt pays it, so that a crash in between loses nothing.
//
// Who is new may have inherited entries: a version of the program with other indexes has the same keys for those that both
// know, and may have expired. A debt is spared where nobody can have missed anything: some consumer of the same name, which
// knows those indexes, has been alive without a break since before the other expired. It was told all along, and has ended
// what both of them can read. So a rolling deploy, and the way back, cost no entries.

// slack is kept from the moments that are compared: a statement takes effect for others when its transaction commits, a
// little after the clock was read.
func (o *Outbox) slack() time.Duration { return min(5*time.Second, o.cfg.Expire/4) }

// register makes the consumer alive, be it new, alive already, or back.
func (o *Outbox) register(ctx context.Context) error {
	if err := o.locate(ctx); err != nil {
		return err
	}
	if err := o.qualify(ctx); err != nil {
		return err
	}
	indexes, err := json.Marshal(o.indexes)
	if err != nil {
		return err
	}
	tx, err := o.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	consumers := o.tables().consumers
	// One at a time, or two could each rely on the other.
	if _, err := tx.ExecContext(ctx, "LOCK TABLE "+consumers+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return err
	}
	var id int32
	var owes bool
	if err := tx.QueryRowContext(ctx, `
		WITH mine AS (SELECT ARRAY(SELECT jsonb_array_elements_text($3::text::jsonb)) AS indexes),
		missed AS (
			SELECT FROM `+consumers+` x, mine WHERE x.name = $1 AND x.expires_at <= clock_timestamp() + make_interval(secs => $5) AND x.indexes && mine.indexes
			AND NOT EXISTS (
				SELECT FROM `+consumers+` d WHERE d.name = $1 AND (d.name, d.declares) <> ($1, $2) AND d.retire_since IS NULL
				AND d.expires_at > clock_timestamp() + make_interval(secs => $5) AND d.since + make_interval(secs => $5) <= x.expires_at
				AND NOT EXISTS (SELECT unnest(x.indexes) INTERSECT SELECT unnest(mine.indexes) EXCEPT SELECT unnest(d.indexes)))
		),
		alive AS (SELECT FROM `+consumers+` WHERE (name, declares) = ($1, $2) AND expires_at > clock_timestamp() + make_interval(secs => $5)),
		debt AS (SELECT NOT EXISTS (SELECT FROM alive) AND EXISTS (SELECT FROM missed) AS owes)
		INSERT INTO `+consumers+` AS c (name, declares, indexes, expires_at, retire_since)
		SELECT $1, $2, mine.indexes, clock_timestamp() + make_interval(secs => $4), CASE WHEN owes THEN clock_timestamp() END FROM mine, debt
		ON CONFLICT (name, declares) DO UPDATE SET expires_at = excluded.expires_at,
			since = CASE WHEN c.expires_at > clock_timestamp() + make_interval(secs => $5) THEN c.since ELSE excluded.since END,
			retire_since = coalesce(excluded.retire_since, c.retire_since)
		RETURNING id, retire_since IS NOT NULL`,
		o.name, o.declares, string(indexes), o.cfg.Expire.Seconds(), o.slack().Seconds()).Scan(&id, &owes); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	o.id.Store(id)
	return nil
}

// renew says that the consumer is alive, and tells whether it owes a retirement. It fails with sql.ErrNoRows if the consumer
// has expired or has no row: then it must register anew.
func (o *Outbox) renew(ctx context.Context) (owes bool, err error) {
	err = o.db.QueryRowContext(ctx, "UPDATE "+o.tables().consumers+` SET expires_at = clock_timestamp() + make_interval(secs => $2)
		WHERE id = $1 AND expires_at > clock_timestamp() + make_interval(secs => $3) RETURNING retire_since IS NOT NULL`,
		o.id.Load(), o.cfg.Expire.Seconds(), o.slack().Seconds()).Scan(&owes)
	return owes, err
}

// owe writes down that the consumer may have missed something.
func (o *Outbox) owe(ctx context.Context) error {
	_, err := o.db.ExecContext(ctx, "UPDATE "+o.tables().consumers+" SET retire_since = clock_timestamp(), since = clock_timestamp() WHERE id = $1", o.id.Load())
	return err
}

// payDebt ends all entries of a consumer that has been taken for dead.
func (o *Outbox) payDebt(ctx context.Context) error {
	var since *time.Time
	if err := o.db.QueryRowContext(ctx, "SELECT retire_since FROM "+o.tables().consumers+" WHERE id = $1", o.id.Load()).Scan(&since); err != nil {
		return err
	}
	if since == nil {
		return nil
	}
	if err := o.consumer.RetireIndexes(ctx); err != nil {
		return err
	}
	o.count.retired.Add(1)
	o.cfg.Logger.Warn("aside: the outbox had given this consumer up: all its entries were ended", "consumer", o.name)
	_, err := o.db.ExecContext(ctx, "UPDATE "+o.tables().consumers+" SET retire_since = NULL WHERE id = $1 AND retire_since = $2", o.id.Load(), *since)
	return err
}

// locate asks where the tables are, once.
func (o *Outbox) locate(ctx context.Context) error {
	if o.writer.names.Load() != nil {
		return nil
	}
	names, err := find(ctx, o.db)
	if err == nil {
		o.writer.names.Store(names)
	}
	return err
}

func (o *Outbox) tables() *tables { return o.writer.tables() }

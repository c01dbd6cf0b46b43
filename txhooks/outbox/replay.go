package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Replay delivers to this process's consumer everything that is in the table: what is open, and what has been done within Keep.
// It is for a store that has lost what it was told, as after a failover (hazard 20). It returns how many rows these were.
//
// All rows of one snapshot are delivered, whoever has acknowledged them: the writer of one that is still open may have
// invalidated it just before the failover. What commits later is invalidated where the keys are now.
func (o *Outbox) Replay(ctx context.Context) (n int, err error) {
	if o.consumer == nil {
		return 0, errors.New("aside: outbox: Replay: this process has no consumer")
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("aside: outbox: Replay: %w", err)
		}
	}()
	if err := o.locate(ctx); err != nil {
		return 0, err
	}
	rows, err := o.db.QueryContext(ctx, "SELECT id, coalesce(tx::text, ''), changes::text FROM "+o.tables().outbox+
		" WHERE done_at IS NULL OR done_at >= clock_timestamp() - make_interval(secs => $1)", o.cfg.Keep.Seconds())
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	named := o.relations()
	var batch, broken []*row
	give := func() error {
		if err := o.give(ctx, batch...); err != nil {
			return err
		}
		n += len(batch)
		o.count.replayed.Add(uint64(len(batch)))
		batch = batch[:0]
		return nil
	}
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return n, err
		}
		r.decode(named)
		if !r.whole() {
			broken = append(broken, &row{missed: r.missed, all: r.all})
		}
		if batch = append(batch, r); len(batch) == claimed {
			if err := give(); err != nil {
				return n, err
			}
		}
	}
	if err := rows.Err(); err != nil {
		return n, err
	}
	if err := give(); err != nil {
		return n, err
	}
	missed, all := missedBy(broken)
	switch {
	case all:
		err = o.consumer.RetireIndexes(ctx)
	case len(missed) > 0:
		err = o.consumer.RetireIndexes(ctx, missed...)
	}
	return n, err
}

// mover is a Consumer that can find out that its store has forgotten what it was told lately.
type mover interface {
	OnMove(f func(ctx context.Context) error)
}

// listen replays whenever the consumer finds that.
func (o *Outbox) listen() {
	m, ok := o.consumer.(mover)
	if !ok {
		return
	}
	moved := make(chan struct{}, 1)
	m.OnMove(func(context.Context) error {
		select {
		case moved <- struct{}{}:
		default: // one is waiting that will begin later than now
		}
		return nil
	})
	o.leave = append(o.leave, func() { m.OnMove(nil) })
	o.running.Go(func() { o.replay(moved) })
}

// replay replays until it has worked: the new server may not be there yet.
func (o *Outbox) replay(moved <-chan struct{}) {
	for {
		select {
		case <-moved:
		case <-o.ctx.Done():
			return
		}
		for rest := min(o.cfg.Poll, longestRest); ; rest = min(2*rest, longestRest) {
			_, err := o.Replay(o.ctx)
			if err == nil {
				o.works("replay")
				break
			}
			o.trouble("replay", err)
			select {
			case <-time.After(rest):
			case <-o.ctx.Done():
				return
			}
		}
	}
}

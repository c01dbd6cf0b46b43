package outbox

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// The relay delivers what nobody has acknowledged. There is one in every process, and each takes what it can get: rows are
// locked while they are in hand, and the others skip them. A row that is delivered and acknowledged in one transaction is
// delivered again if that is lost.
//
// Rows are never found by "later than the last that I saw". A transaction that takes long has a low id and commits after
// others that have higher ones; a cursor has passed it by then. What is open is open, whatever its number.
//
// Nothing is delivered before it is committed: nobody else sees it. What the relay sends is what the writer would have sent
// after COMMIT, and leaves the intents of all other writers alone.
const (
	claimed     = 64      // rows at once
	heavy       = 4 << 20 // bytes of a claim after which the next one is smaller
	triesOfRow  = 5       // deliveries of one row that fail for its own fault, then it is parked
	longestRest = time.Second
	reconnect   = time.Minute
)

// relay runs until the outbox is closed.
func (o *Outbox) relay() {
	c := &carrier{o: o, limit: claimed, tries: make(map[int64]int), waiting: make(map[int64]bool)}
	defer c.hangUp()
	timer := time.NewTimer(o.jitter())
	defer timer.Stop()
	for rest := time.Duration(0); ; {
		select {
		case <-timer.C:
		case <-o.ctx.Done():
			return
		}
		more, err := c.turn(o.ctx)
		switch {
		case err != nil:
			o.trouble("relay", err)
			rest = min(max(2*rest, o.cfg.Poll), max(longestRest, o.cfg.Poll))
			timer.Reset(rest)
		case more:
			rest = 0
			timer.Reset(0)
		default:
			rest = 0
			o.works("relay")
			timer.Reset(o.jitter())
		}
	}
}

// jitter is Poll, a quarter more or less, so that processes that were started together do not all ask at once.
func (o *Outbox) jitter() time.Duration {
	return o.cfg.Poll*3/4 + time.Duration(rand.Int64N(int64(o.cfg.Poll)/2+1))
}

// carrier is the state of a relay.
type carrier struct {
	o     *Outbox
	conn  *sql.Conn
	since time.Time // of conn

	// Every open row of the consumer has this transaction id or a later one: so nobody need look at rows again that wait for
	// another consumer only. It is the oldest that was open, or still running, when the relay last looked, see look. It does
	// not outlive the connection: after a crash of the server ids may be used again.
	oldest string

	limit int // of rows in a claim: fewer where each is thousands of changes

	tries   map[int64]int  // of rows that failed
	waiting map[int64]bool // rows for which the next retirement is waited for
	rest    time.Time      // no retirement before
}

// turn delivers what there is, a batch at most. more: there may be more of it at once.
func (c *carrier) turn(life context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(life, 2*statementTimeout)
	defer cancel()
	if c.o.id.Load() == 0 {
		return false, nil // not registered yet: keep sees to it
	}
	if err := c.dial(ctx); err != nil {
		return false, err
	}
	defer func() {
		if err != nil {
			c.hangUp()
		}
	}()
	found, err := c.look(ctx)
	if err != nil || !found {
		return false, err
	}
	broken, more, err := c.deliver(ctx)
	if err != nil || len(broken) == 0 {
		return more, err
	}
	return more, c.mend(life, broken)
}

// dial takes a connection out of the pool, to keep: the relay must not wait behind the transactions whose changes it is
// there to deliver. It gives it back now and then, as everybody does; in a pool of a few connections after every turn.
func (c *carrier) dial(ctx context.Context) error {
	if few := c.o.db.Stats().MaxOpenConnections; c.conn != nil && (time.Since(c.since) > reconnect || few > 0 && few < 4) {
		c.hangUp()
	}
	if c.conn != nil {
		return nil
	}
	conn, err := c.o.db.Conn(ctx)
	c.conn, c.since, c.oldest = conn, time.Now(), "0"
	return err
}

func (c *carrier) hangUp() {
	if c.conn != nil {
		_ = c.conn.Close()
	}
	c.conn = nil
}

// look tells whether there is anything to deliver, and how old the oldest is. It is all that is sent in a quiet time.
//
// A row whose transaction is older than the oldest that runs, as its snapshot says, can be seen in that snapshot or never:
// if the consumer has acknowledged all that it sees there, nothing older comes any more.
func (c *carrier) look(ctx context.Context) (found bool, err error) {
	open := "FROM " + c.o.tables().outbox + " o WHERE done_at IS NULL AND NOT acked @> ARRAY[$1::int] AND xid >= $2::text::xid8"
	var oldest string
	var lag float64
	if err := c.conn.QueryRowContext(ctx, `SELECT least(first.xid, pg_snapshot_xmin(pg_current_snapshot()))::text, coalesce(first.age, 0),
			EXISTS (SELECT `+open+` AND at <= clock_timestamp() - make_interval(secs => $3))
		FROM (VALUES (0)) one LEFT JOIN (
			SELECT xid, extract(epoch FROM clock_timestamp() - at)::float8 AS age `+open+` ORDER BY xid LIMIT 1) first ON true`,
		c.o.id.Load(), c.oldest, c.o.cfg.Grace.Seconds()).Scan(&oldest, &lag, &found); err != nil {
		return false, err
	}
	c.oldest = oldest
	c.o.count.lag.Store(int64(lag * float64(time.Second)))
	return found, nil
}

// deliver claims a batch, delivers and acknowledges it, but for the rows that do not say everything.
func (c *carrier) deliver(ctx context.Context) (broken []*row, more bool, err error) {
	tx, err := c.conn.BeginTx(ctx, nil)
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = tx.Rollback() }()
	rows, err := c.claim(ctx, tx)
	if err != nil || len(rows) == 0 {
		return nil, false, err
	}
	named := c.o.relations()
	for _, r := range rows {
		c.o.count.unknown.Add(uint64(r.decode(named)))
	}
	told, err := c.tell(ctx, rows)
	if err != nil {
		return nil, false, err
	}
	var done []*row
	for _, r := range told {
		if r.whole() {
			done = append(done, r)
		} else {
			broken = append(broken, r)
		}
	}
	if err := c.settle(ctx, tx, done); err != nil {
		return nil, false, err
	}
	if err := tx.Commit(); err != nil {
		return nil, false, err
	}
	c.settled(done)
	full := len(rows) == c.limit
	c.weigh(rows)
	return broken, full && len(done) > 0, nil
}

// weigh makes the next claim smaller or larger.
func (c *carrier) weigh(rows []*row) {
	bytes := 0
	for _, r := range rows {
		bytes += len(r.text)
	}
	if bytes > heavy {
		c.limit = max(1, c.limit/4)
	} else if bytes < heavy/4 {
		c.limit = min(claimed, 2*c.limit)
	}
}

func (c *carrier) settle(ctx context.Context, tx *sql.Tx, rows []*row) error {
	if len(rows) == 0 {
		return nil
	}
	t := c.o.tables()
	_, err := tx.ExecContext(ctx, "UPDATE "+t.outbox+" o SET "+t.acknowledged()+" WHERE id = ANY ($2::text::bigint[]) AND NOT acked @> ARRAY[$1::int]",
		c.o.id.Load(), listed(rows, func(r *row) string { return number(r.id) }))
	return err
}

func (c *carrier) settled(rows []*row) {
	c.o.count.delivered.Add(uint64(len(rows)))
	for _, r := range rows {
		delete(c.tries, r.id)
	}
}

// claim locks open rows, the oldest first, that nobody else has in hand.
func (c *carrier) claim(ctx context.Context, tx *sql.Tx) (all []*row, err error) {
	// The others have the oldest taken off an index that has them in order. What the planner knows of a table that is full
	// one minute and empty the next is always wrong, and it would sort all that is open for each claim.
	if _, err := tx.ExecContext(ctx, `SELECT set_config('statement_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true),
			set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true), set_config('enable_sort', 'off', true),
			set_config('jit', 'off', true)`,
		fmt.Sprint(statementTimeout.Milliseconds()), fmt.Sprint(4*statementTimeout.Milliseconds())); err != nil {
		return nil, err
	}
	if time.Now().After(c.rest) {
		clear(c.waiting) // the next retirement is for all of them
	}
	var skipped []string
	for id := range c.waiting {
		skipped = append(skipped, number(id))
	}
	rows, err := tx.QueryContext(ctx, `SELECT id, coalesce(tx::text, ''), changes::text FROM `+c.o.tables().outbox+`
		WHERE done_at IS NULL AND NOT acked @> ARRAY[$1::int] AND xid >= $2::text::xid8 AND at <= clock_timestamp() - make_interval(secs => $3)
			AND NOT id = ANY ($4::text::bigint[])
		ORDER BY xid LIMIT $5 FOR UPDATE SKIP LOCKED`,
		c.o.id.Load(), c.oldest, c.o.cfg.Grace.Seconds(), "{"+strings.Join(skipped, ",")+"}", c.limit)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// scan reads id, tx and changes.
func scan(rows *sql.Rows) (*row, error) {
	r := new(row)
	var tx string
	if err := rows.Scan(&r.id, &tx, &r.text); err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(strings.ReplaceAll(tx, "-", ""))
	copy(r.tx[:], b)
	return r, err
}

// tell delivers rows, all at once, and if that fails for another reason than the store, one by one, to find whose fault it
// is. It returns those that need nothing more but what mend does, and fails if the store is away.
func (c *carrier) tell(ctx context.Context, rows []*row) (told []*row, err error) {
	if err := c.o.give(ctx, rows...); err == nil || away(ctx, err) {
		return rows, err
	}
	for _, r := range rows {
		err := c.o.give(ctx, r)
		switch {
		case err == nil:
			told = append(told, r)
			continue
		case away(ctx, err):
			return nil, err
		}
		c.o.trouble("deliver", err)
		if c.tries[r.id]++; c.tries[r.id] >= triesOfRow {
			r.spoiled = err
			r.miss(r.concerns()...)
			told = append(told, r)
		} else {
			c.waiting[r.id] = true
			c.rest = later(c.rest, time.Now().Add(min(c.o.cfg.Poll<<c.tries[r.id], longestRest)))
		}
	}
	return told, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// concerns are the indexes of a row's tables.
func (r *row) concerns() (all []*model.Access) {
	for _, rel := range r.changes.Tables() {
		all = append(all, rel.Accesses()...)
	}
	return all
}

// give delivers to the consumer. A panic of it is its error, and the row's fault.
func (o *Outbox) give(ctx context.Context, rows ...*row) (err error) {
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			if _, known := o.count.logged.LoadOrStore("panic", true); !known {
				o.cfg.Logger.Error("aside: the outbox's consumer panicked", "panic", p, "stack", string(debug.Stack()))
			}
			err = fmt.Errorf("aside: outbox: the consumer panicked: %v", p)
		}
	}()
	var transactions []txhooks.Changes
	for _, r := range rows {
		if r.changes.Len() > 0 {
			transactions = append(transactions, r.changes)
		}
	}
	if len(transactions) == 0 {
		return nil
	}
	return o.consumer.Deliver(ctx, transactions...)
}

// away tells whether a delivery failed because of the store, or for want of time.
func away(ctx context.Context, err error) bool {
	var of interface{ Away() bool }
	return errors.As(err, &of) && of.Away() || ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded)
}

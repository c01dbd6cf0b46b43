package outbox

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/asidego/aside/txhooks"
)

// acks are transactions whose keys are gone and whose rows nobody need deliver. They are acknowledged together, a moment
// later, off the path of those who wrote them. What is lost of them, with the process or for want of a connection, is
// delivered once more, which is harmless.
type acks struct {
	mu   sync.Mutex
	ids  []txhooks.ID
	wake chan struct{}
}

const (
	ackPause = 50 * time.Millisecond
	ackMany  = 500    // are not waited for
	ackMost  = 10_000 // more are left to the relay
)

func (a *acks) add(id txhooks.ID) {
	a.mu.Lock()
	n := len(a.ids)
	if n < ackMost {
		a.ids = append(a.ids, id)
	}
	a.mu.Unlock()
	if n == 0 || n == ackMany {
		select {
		case a.wake <- struct{}{}:
		default:
		}
	}
}

func (a *acks) take() []txhooks.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	ids := a.ids
	a.ids = nil
	return ids
}

func (a *acks) many() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.ids) > ackMany
}

// acknowledge sends what has come together until the outbox is closed.
func (o *Outbox) acknowledge() {
	timer := time.NewTimer(ackPause)
	defer timer.Stop()
	for {
		select {
		case <-o.acks.wake:
		case <-o.ctx.Done():
			return
		}
		timer.Reset(ackPause)
		for waiting := !o.acks.many(); waiting; {
			select {
			case <-timer.C:
				waiting = false
			case <-o.acks.wake:
				waiting = !o.acks.many()
			case <-o.ctx.Done():
				return
			}
		}
		ctx, cancel := context.WithTimeout(o.ctx, statementTimeout)
		o.flush(ctx)
		cancel()
	}
}

// flush acknowledges what was settled. Rows that somebody else has in hand are not waited for.
func (o *Outbox) flush(ctx context.Context) {
	ids := o.acks.take()
	if len(ids) == 0 || o.id.Load() == 0 {
		return
	}
	n, err := o.settle(ctx, o.writer.witnessed(), listed(ids, uuid))
	if err != nil {
		if ctx.Err() != nil && o.ctx.Err() != nil { // Close has come in between, and acknowledges what is left itself
			for _, id := range ids {
				o.acks.add(id)
			}
		}
		o.trouble("acknowledge", err)
		return
	}
	o.works("acknowledge")
	o.count.acked.Add(uint64(n))
}

// settle acknowledges rows that nobody else has in hand, for this consumer. That a row must be open to be acknowledged is not
// said: the planner would look for it among all that are.
//
// The rows are locked before they are written to, so that of two consumers the second adds itself to what the first has
// left: what FOR UPDATE returns is the row's latest version, and UPDATE looks at that again.
func (o *Outbox) settle(ctx context.Context, which string, arg any) (int64, error) {
	t := o.tables()
	res, err := o.db.ExecContext(ctx, `WITH mine AS MATERIALIZED (
			SELECT id FROM `+t.outbox+` WHERE `+which+` AND NOT acked @> ARRAY[$1::int] FOR UPDATE SKIP LOCKED
		)
		UPDATE `+t.outbox+" o SET "+t.acknowledged()+" FROM mine WHERE o.id = mine.id", o.id.Load(), arg)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// acknowledged adds consumer $1. A row is done when every consumer that is alive has acknowledged it.
func (t *tables) acknowledged() string {
	return "acked = o.acked || $1::int, done_at = coalesce(o.done_at, CASE WHEN ARRAY(SELECT id FROM " + t.consumers +
		" WHERE expires_at > now()) <@ (o.acked || $1::int) THEN clock_timestamp() END)"
}

// listed writes a list as PostgreSQL reads an array of what needs no quotes.
func listed[E any](all []E, text func(E) string) string {
	var b strings.Builder
	b.WriteByte('{')
	for i, e := range all {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(text(e))
	}
	b.WriteByte('}')
	return b.String()
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

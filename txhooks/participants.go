package txhooks

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asidego/aside/internal/faultpoint"
)

// ID names a transaction: 128 random bits, never used again. It is what a strict writer signs its intents with, and the
// witness by which an outbox tells later whether the transaction was committed.
type ID [16]byte

func newID() (id ID) {
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	return id
}

// A Subscriber may take part in more of a transaction's end than Ended, by having the methods of the interfaces below. They
// are called in this order, all subscribers of one kind in the order of subscription before the next kind:
//
//	the user's BeforeCommit hooks
//	Preparer   what has yet to happen in the transaction: deferred triggers, changes that triggers wrote down
//	           (touched rows are read again)
//	Stager     all changes are known and can be written into the transaction
//	Guard      nothing is left to be sent but COMMIT
//	           COMMIT
//	Resolver   if its answer was lost
//	Subscriber.Ended, then Settler
//	the user's AfterCommit and AfterEnd hooks
//
// Preparer, Stager and Guard take part only in transactions through which something was sent and that may write. Their
// errors roll back and are what Run returns. Where no subscriber has these methods, nothing but BEGIN, the statements and
// COMMIT is sent.

// Preparer is a Subscriber that has something to do in the transaction before it is known what changed.
type Preparer interface {
	// Prepare may send statements on ctx, which carries the transaction, and report changes by DB.Changed. changes are those
	// reported so far; its Tables include those that were touched.
	Prepare(ctx context.Context, changes Changes) error
}

// Stager is a Subscriber that writes the changes down in the transaction that made them.
type Stager interface {
	// Stage is called if there are changes. No more can be reported. It may send statements on ctx.
	Stage(ctx context.Context, changes Changes) error
}

// Guard is a Subscriber that has to do something elsewhere before COMMIT.
type Guard interface {
	// Guard is called if there are changes; ctx is without the transaction and ends with the caller's. COMMIT is sent only
	// before until, unless that is zero; later than that the transaction is rolled back. After Guard was called, even if it
	// failed, Ended is called with the outcome and all changes, also for an attempt that is retried.
	Guard(ctx context.Context, changes Changes) (until time.Time, err error)
}

// Resolver is a Subscriber that may find out what became of a COMMIT whose answer was lost.
type Resolver interface {
	// Resolve returns Committed or RolledBack only if that is certain, InDoubt otherwise; its error says why. It is called
	// if there are changes, on a detached context with the deadline of the subscribers.
	Resolve(ctx context.Context, changes Changes) (Outcome, error)
}

// Settler is a Subscriber that wants to know what all subscribers did.
type Settler interface {
	// Settled is called after Ended of all, with the sum of what they said is pending.
	Settled(ctx context.Context, o Outcome, changes Changes, pending int)
}

// errLate is the error of a transaction that a Guard gave a time that is over.
var errLate = errors.New("aside: rolled back: the time in which COMMIT was to be sent is over")

// participants yields the subscribers that are a P.
func participants[P any](t *transaction) (ps []P) {
	for _, s := range t.db.pool.subscribed() {
		if p, ok := s.Subscriber.(P); ok {
			ps = append(ps, p)
		}
	}
	return ps
}

// takesPart tells whether there is anything to take part in. In a transaction with a failed statement there is not: the
// server takes no statement more, and will roll back, which is said in better words than its refusal.
func (t *transaction) takesPart() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent > 0 && !t.options.ReadOnly && (t.failed == nil || t.shared)
}

// flush lets the Preparers do their part.
func (t *transaction) flush(ctx context.Context) error {
	ps := participants[Preparer](t)
	if len(ps) == 0 || !t.takesPart() {
		return nil
	}
	for _, s := range ps {
		if err := s.Prepare(ctx, t.soFar()); err != nil {
			return err
		}
	}
	return nil
}

// stage lets the Stagers do theirs. A goroutine that nobody waited for must not report a change that they miss.
func (t *transaction) stage(ctx context.Context) error {
	ps := participants[Stager](t)
	if len(ps) == 0 || !t.takesPart() {
		return nil
	}
	changes := t.seal()
	if changes.Len() == 0 {
		return nil
	}
	faultpoint.At(faultpoint.BeforeStage)
	for _, s := range ps {
		if err := s.Stage(ctx, changes); err != nil {
			return err
		}
	}
	faultpoint.At(faultpoint.AfterStage)
	return nil
}

// guard lets the Guards do theirs. The transaction is about to end: nothing is sent or reported any more.
func (t *transaction) guard() error {
	ps := participants[Guard](t)
	if len(ps) == 0 || !t.takesPart() {
		return nil
	}
	changes := t.seal()
	if changes.Len() == 0 {
		return nil
	}
	ctx := &frameContext{t.caller, t.db.sql(), nil, t.outer}
	faultpoint.At(faultpoint.BeforeGuard)
	for _, s := range ps {
		t.guarded = true
		until, err := s.Guard(ctx, changes)
		if err != nil {
			return err
		}
		if !until.IsZero() && (t.until.IsZero() || until.Before(t.until)) {
			t.until = until
		}
	}
	faultpoint.At(faultpoint.AfterGuard)
	return t.inTime()
}

// inTime is asked when the Guards are done, just before COMMIT is sent. The wall clock counts as well as the monotonic one, which stands still
// while a virtual machine is suspended.
func (t *transaction) inTime() error {
	now := time.Now()
	if t.until.IsZero() || now.Before(t.until) && now.Round(0).Before(t.until.Round(0)) {
		return nil
	}
	return fmt.Errorf("%w by %s", errLate, now.Sub(t.until))
}

// resolve asks what became of COMMIT. The connection has been given back, so that one is there to ask with.
func (t *transaction) resolve() (o Outcome) {
	o = InDoubt
	changes := t.seal()
	ps := participants[Resolver](t)
	if len(ps) == 0 || changes.Len() == 0 {
		return o
	}
	ctx, cancel := context.WithTimeout(t.outside(t.caller), t.db.config.HookTimeout)
	defer cancel()
	for _, s := range ps {
		t.protect(ctx, func() {
			found, err := s.Resolve(ctx, changes)
			if err != nil {
				t.logger().WarnContext(ctx, "aside: what became of a COMMIT could not be found out", "err", err)
			}
			if err == nil && (found == Committed || found == RolledBack) {
				o = found
			}
		})
		if o != InDoubt {
			break
		}
	}
	return o
}

// soFar are the changes as they are now: what is reported meanwhile does not show in it.
func (t *transaction) soFar() Changes {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := &t.changes
	now := &spool{
		head: slices.Clip(c.head), n: c.n, tables: slices.Clone(c.tables), blocks: slices.Clip(c.blocks),
		tail: slices.Clone(c.tail), file: c.file, size: c.size,
	}
	for _, p := range t.touched {
		now.name(p.rel)
	}
	return Changes{now, t.id}
}

// seal ends the list of changes.
func (t *transaction) seal() Changes {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sealed = true
	return Changes{&t.changes, t.id}
}

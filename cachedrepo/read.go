package cachedrepo

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faultpoint"
	"github.com/asidego/aside/model"
)

// read is one READ of the protocol: a row at one key.
type read struct {
	c    *Cache
	name string // of the view, for errors and observers
	acc  *access
	at   model.Place
	data []model.Datum
	key  string
	load func(ctx context.Context) (rec any, err error) // rec is a pointer to a record
	nils bool                                           // load may fail with errNilRecord

	until time.Time     // the end of the time that this read may spend on the store
	left  time.Duration // what was left of it when the lease was granted

	buf   [1]model.Datum // of data, if that is one value
	first *firstLook     // nil: each look makes its own
}

// firstLook is memory for the first look at the store: most reads need no more. Later ones make their own, for others may
// still hold what belongs to the first.
type firstLook struct {
	round round
	op    [1]store.Op
	reply [1]store.Reply
}

// maxAttempts bounds how often a read starts again because what it waited for came to nothing. Each turn needs an
// invalidation, an expired lease or a caller that left at just the wrong moment.
const maxAttempts = 4

// into answers the read from the store, from another's load or from the database, and writes the row to dst, a pointer to
// a zero record.
func (r *read) into(ctx context.Context, dst any) (hit bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	var waitUntil time.Time
	now := time.Now()
	r.until = now.Add(r.c.cfg.Timeout)
	for range maxAttempts {
		if r.c.registry.unheard(r.acc, now) {
			break
		}
		if !r.c.nodes.trusts(r.key) {
			r.c.stats.distrusted.Add(1)
			break
		}
		reply, err := r.look(ctx)
		if err != nil {
			break
		}
		verdict, rowErr := r.open(ctx, reply, dst)
		move := protocol.Looked(reply.State, verdict)
		if move == protocol.Acquire || move == protocol.TakeOver {
			var f *flight
			if reply, f, err = r.acquire(ctx, move, reply.Value); err != nil {
				break
			}
			if f != nil {
				done, err := r.finish(ctx, f, dst, true)
				if done {
					return false, err
				}
				continue
			}
			verdict, rowErr = r.open(ctx, reply, dst)
			if move = protocol.Acquired(reply, store.Token{}, verdict); move == protocol.TakeOver {
				continue // look again first
			}
		}
		var f *flight
		if move == protocol.Share {
			f = r.c.flights.join(reply.Token)
			move = protocol.Held(f != nil, f == nil && r.patient(reply.Token))
		}
		switch move {
		case protocol.Return:
			return true, rowErr
		case protocol.Share:
			r.c.stats.shared.Add(1)
			done, err := r.finish(ctx, f, dst, false)
			if done {
				return false, err
			}
			continue
		case protocol.Wait:
			again, err := r.waitFor(ctx, reply.Token, &waitUntil)
			if err != nil {
				return false, err
			}
			if again {
				continue
			}
		}
		switch reply.State {
		case store.Lease:
			r.c.stats.leased.Add(1)
		case store.Intent, store.Generation:
			r.acc.table.guarded.Add(1)
		}
		break
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	return false, r.fromDatabase(ctx, dst)
}

// look is GET, shared with those who came before it was sent.
func (r *read) look(ctx context.Context) (store.Reply, error) {
	l := r.first
	if r.first = nil; l == nil {
		l = new(firstLook)
	}
	l.op[0] = store.Op{Kind: store.Get, Key: r.key}
	return r.c.lookups.do(ctx, r.key, &l.round, func() (store.Reply, error) {
		// Trust is judged when the command is sent: a read that came before an invalidation failed may be led by one after.
		if !r.c.nodes.trusts(r.key) {
			return store.Reply{}, errAway
		}
		return r.ask(ctx, "get", l.op[:], l.reply[:])
	})
}

// acquire asks for the lease; as TakeOver, over the value seen. It returns the flight that was started if the lease was
// given, else what the key holds.
func (r *read) acquire(ctx context.Context, move protocol.Move, seen []byte) (store.Reply, *flight, error) {
	var started *flight
	reply, err := r.c.acquires.do(ctx, r.key, new(round), func() (store.Reply, error) {
		epoch, f := r.acc.epoch(r.key), r.c.flights.leased(ctx, nil)
		granted := false
		defer func() { // also if the store panics: others may have found the lease, and joined
			if !granted {
				r.c.flights.notGranted(f)
			}
		}()
		op := store.Op{Kind: store.Acquire, Key: r.key, Token: f.token, TTL: r.c.leaseTime()}
		if move == protocol.TakeOver {
			op.Kind, op.Value = store.AcquireOver, seen
		}
		reply, unmarked, err := r.askForLease(ctx, op)
		if err != nil {
			r.c.abandon(ctx, []settlement{{key: r.key, token: f.token}})
		}
		if err != nil || protocol.Acquired(reply, f.token, protocol.Unusable) != protocol.Load {
			return reply, err
		}
		granted = true
		started, r.left = f, time.Until(r.until)
		r.c.stats.misses.Add(1)
		// The database is read after the store has answered, and in a snapshot of its own: history 14.
		var entry []byte
		r.c.flights.start(f, func(ctx context.Context) *result {
			faultpoint.At(faultpoint.AfterAcquire)
			res := r.fetch(ctx, unmarked)
			entry = r.entry(ctx, res, epoch)
			return res
		}, func(ctx context.Context) {
			defer r.c.flights.forget(f)
			r.c.settle(ctx, []settlement{{r.key, f.token, entry, r.c.opts.life(f.result.err), f.leased}})
		})
		return reply, nil
	})
	return reply, started, err
}

// leaseTime outlives the load and the fill: a lease that ends earlier would be taken over while its load still runs.
func (rt *runtime) leaseTime() time.Duration { return rt.cfg.LoadTimeout + 2*rt.cfg.Timeout }

// ask runs one operation within the time that the read may spend on the store. The time that it waited for another's call
// counts: the caller who leads the next round came first of all who share it.
func (r *read) ask(ctx context.Context, name string, ops []store.Op, replies []store.Reply) (store.Reply, error) {
	if time.Until(r.until) <= 0 {
		return store.Reply{}, errAway // says nothing new about the store
	}
	call, cancel := context.WithDeadline(ctx, r.until)
	defer cancel()
	err := r.c.nodes.do(call, ctx, nil, name, ops, replies)
	return replies[0], err
}

// askForLease is ask for a lease. unmarked tells whether a replica may be read under it.
func (r *read) askForLease(ctx context.Context, op store.Op) (reply store.Reply, unmarked bool, err error) {
	if time.Until(r.until) <= 0 {
		return reply, false, errAway
	}
	call, cancel := context.WithDeadline(ctx, r.until)
	defer cancel()
	replies := make([]store.Reply, 1)
	of, err := r.c.acquire(call, ctx, nil, []store.Op{op}, replies)
	return replies[0], of != nil && of[0], err
}

// open reads the value of a reply, if it has one. err is the answer of a usable one.
func (r *read) open(ctx context.Context, reply store.Reply, dst any) (v protocol.Verdict, err error) {
	if reply.State != store.Value {
		return protocol.Unusable, nil
	}
	t := r.acc.table
	e, err := openEnvelope(r.key, reply.Value, r.acc.epoch(r.key), t.codec.fingerprint)
	if err == nil && e.flags&flagAbsent == 0 {
		err = t.codec.decode(e.payload, dst)
	}
	if err == nil {
		r.c.stats.hits.Add(1)
		if r.c.auditor != nil {
			r.c.auditor.hit(r)
		}
		if e.flags&flagAbsent != 0 {
			return protocol.Usable, r.c.opts.absent(r.at, e.flags)
		}
		return protocol.Usable, nil
	}
	r.c.unusable(ctx, t, err)
	zero(dst)
	if errors.Is(err, errFingerprint) && e.build > r.c.cfg.Build && t.older.yields() {
		r.c.stats.older.Add(1)
		return protocol.Newer, nil
	}
	return protocol.Unusable, nil
}

// finish waits for a flight. done is false if it came to nothing and the read must start again.
func (r *read) finish(ctx context.Context, f *flight, dst any, own bool) (done bool, err error) {
	res, err := r.c.flights.await(ctx, f)
	if err != nil {
		return true, err
	}
	err = res.into(r.acc.table, dst)
	if startAgain(err) {
		return false, err
	}
	switch {
	case res.absence != present && r.c.opts.absenceOf(err) == present:
		err = r.c.opts.absent(r.at, res.absence.flags()) // as a hit would say it: the load may be another view's
	case errors.Is(err, errNilRecord) && !r.nils:
		return true, r.loadTo(ctx, dst) // only FindPtr knows what that means
	}
	if own {
		r.linger(ctx, f)
	}
	return true, err
}

// linger lets the caller that loaded see its fill land, as it would with GET, SELECT, SET: what it does next finds the
// row in the store, or that there is none. After an error it finds the lease given up, and does not join the load that
// failed. It waits no longer than the read may spend on the store.
func (r *read) linger(ctx context.Context, f *flight) {
	select {
	case <-f.stored:
		return
	default:
	}
	timer := time.NewTimer(r.left)
	defer timer.Stop()
	select {
	case <-f.stored:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// patient tells whether a lease of another process is worth waiting for. One that was once waited for in vain is not: its
// holder is slow, or dead.
func (r *read) patient(lease store.Token) bool { return r.c.cfg.Wait >= 0 && !r.c.vain.has(lease) }

// waitFor waits a moment for another process to finish its load, and tells whether it is worth looking again.
func (r *read) waitFor(ctx context.Context, lease store.Token, until *time.Time) (again bool, err error) {
	c := r.c
	end := time.Now().Add(c.cfg.Wait)
	if until.IsZero() {
		*until = end
	}
	pause := time.Millisecond
	for {
		left := time.Until(*until)
		if left <= 0 {
			c.vain.add(lease)
			return false, nil
		}
		timer := time.NewTimer(min(pause/2+rand.N(pause), left))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, ctx.Err()
		}
		pause = min(2*pause, 16*time.Millisecond)
		r.until = time.Now().Add(c.cfg.Timeout) // for each look; the whole wait has its own bound
		reply, err := r.look(ctx)
		if err != nil {
			return false, ctx.Err()
		}
		if reply.State != store.Lease || reply.Token != lease {
			return true, nil
		}
	}
}

// fromDatabase reads the row and stores nothing.
func (r *read) fromDatabase(ctx context.Context, dst any) error {
	for range maxAttempts {
		f := r.c.flights.queue(ctx, r.key, func(ctx context.Context) *result {
			res := r.fetch(ctx, false)
			if !r.acc.table.rel.Immutable {
				r.entry(ctx, res, 0) // the others decode their own
			}
			return res
		})
		if done, err := r.finish(ctx, f, dst, false); done {
			return err
		}
	}
	return r.loadTo(ctx, dst)
}

// loadTo reads the row for this caller alone.
func (r *read) loadTo(ctx context.Context, dst any) error {
	rec, err := r.loadOnce(ctx, false)
	if err == nil {
		assign(dst, rec)
	}
	return err
}

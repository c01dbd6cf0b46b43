package cachedrepo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/txhooks"
)

// An index may be served only while every process that writes invalidates it. During a deploy that adds one, and after a
// rollback, some do not know it. So all processes write into a table of the database which indexes they declare, say every
// Config.Heartbeat that they are alive, and read what the others have written. An index that some live process lacks is
// maintained: invalidated, but neither served nor filled. When that process has gone the index is served again, in a new
// epoch: what was stored before is not used, for nobody knows what the other has written. See standing.go for these rules.
//
// What makes it safe is one order of events, for a process O that lacks an index and a process N that serves it:
//
//	O writes its row, commits, then reads who else is there.
//	N writes its row, commits, then reads who else is there, and again every Heartbeat.
//
// One of them sees the other. If N sees O, N does not serve. If O sees N, O lets no write return until N must have read
// again: N serves no longer than stops_after after it has last begun to read, a time that stands in N's row. From then on N
// has seen O, or does not serve for want of news.
//
// The end of O is a fact too, and not for each process to judge by a clock: gone_at, which O writes itself, or who finds
// that its seen_at is older than its expires_after, by the database's clock. Row locks make that and O's own renewal take
// turns: O's next renewal finds that it has been declared dead and registers anew, with a new serial, which is a new epoch
// for all that it lacks. Between the two, O may have written. Whether it has is asked where every write passes, before it
// returns (settled): if less than expires_after has passed since O's last successful renewal began, nobody can have
// declared it dead before its COMMIT, so that whoever fills in the new epoch reads after that. Otherwise the write waits
// until O is registered and has been noticed. A process that was stopped, and wakes up in the midst of a write, thus does
// not let it return before it is harmless. What is left is in docs/rollout.md.
type registry struct {
	rt       *runtime
	process  string
	label    string
	declares []string // what this process invalidates

	base    time.Time
	heard   instant      // until then the others' rows are known well enough to serve indexes
	alive   instant      // until then nobody can have declared this process dead
	noticed atomic.Int64 // since base: then the others have noticed this process

	turn      chan struct{} // held by whoever talks to the database; guards what follows
	unsettled bool          // registered, and the others have not been read since
	told      time.Duration // the longest TTL that others know of
	identity  identity

	ctx  context.Context // of the loop
	stop context.CancelFunc
	done chan struct{}
}

// The multiples of Config.Heartbeat. One beat may fail without an index going out of service, three without the process
// being taken for dead.
const (
	stopsAfter   = 2
	expiresAfter = 5
)

// instant is a moment that is compared with on every read. The wall clock counts as well as the monotonic one, which
// stands still while a virtual machine is suspended.
type instant struct{ mono, wall atomic.Int64 }

func (i *instant) set(base, at time.Time) {
	i.wall.Store(at.UnixNano())
	i.mono.Store(int64(at.Sub(base)))
}

func (i *instant) passed(base, now time.Time) bool {
	return int64(now.Sub(base)) >= i.mono.Load() || now.UnixNano() >= i.wall.Load()
}

// register joins the others and returns when they have noticed. It fails if the tables of the registry cannot be used or
// the store belongs to another database; it does not fail because the database cannot be reached. Until the rows of the
// others have been read nothing is served: nobody could tell which epoch it is.
func (rt *runtime) register() error {
	r := &registry{
		rt: rt, process: newProcess(), label: labelOf(), base: time.Now(),
		turn: make(chan struct{}, 1), done: make(chan struct{}),
	}
	r.ctx, r.stop = context.WithCancel(context.Background())
	private := ""
	if s, ok := rt.store.(store.Private); ok {
		// Nobody else invalidates here, so nobody else declares this: while two processes run none is served.
		private = " in memory " + s.Private()
	}
	for _, a := range rt.accesses {
		a.declares = a.spelling() + private
		r.declares = append(r.declares, a.declares)
		if a.table.rel.Strict {
			// A process that does not know the table for strict writes without intents, and then what is promised of its reads does
			// not hold. So a strict process declares two things, that it invalidates the index and that it does so strictly, and
			// serves it while all others declare the latter; one that knows of no strict mode asks for the former alone. While
			// the table is made strict by a rolling deploy, the old processes thus go on as they were, and the new ones read the
			// database until the last old one has gone. What the old ones have stored is of another epoch, and not used.
			a.declares += " strict"
			r.declares = append(r.declares, a.declares)
		}
		a.unserve(unservedRegistry, true)
	}
	if rt.marks != nil {
		r.declares = append(r.declares, rt.marks.declares())
	}
	slices.Sort(r.declares)
	rt.registry = r
	if err := r.settle(r.ctx); unusable(err) {
		r.stop()
		_ = r.resign(context.Background()) // or the row expires
		if errors.As(err, new(errOtherDatabase)) {
			return fmt.Errorf("aside: %w", err)
		}
		return fmt.Errorf("aside: Config.Registry needs the tables that migrations.Apply makes, and may read and write them: %w", err)
	}
	go r.loop()
	return nil
}

// unusable tells of errors that no waiting mends.
func unusable(err error) bool {
	var of interface{ SQLState() string }
	if errors.As(err, &of) { // no such table, column, schema; no permission
		state := of.SQLState()
		return strings.HasPrefix(state, "42") || strings.HasPrefix(state, "3F")
	}
	var other errOtherDatabase
	return errors.As(err, &other)
}

// loop renews until close.
func (r *registry) loop() {
	defer close(r.done)
	timer := time.NewTimer(r.rt.cfg.Heartbeat)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-r.ctx.Done():
			return
		}
		pause := r.rt.cfg.Heartbeat
		ctx, cancel := context.WithTimeout(r.ctx, stopsAfter*r.rt.cfg.Heartbeat)
		if r.beat(ctx) != nil {
			pause /= 4
		}
		cancel()
		timer.Reset(pause)
	}
}

// beat renews the row of this process, or writes it anew, then reads all rows.
func (r *registry) beat(ctx context.Context) (err error) {
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() {
		if err != nil && r.ctx.Err() == nil {
			r.rt.stats.registryErrors.Add(1)
			r.rt.trouble(ctx, "registry", err)
		}
	}()
	start := time.Now()
	anew := false
	err = r.rt.db.RunWith(ctx, txhooks.Options{Isolation: sql.LevelReadCommitted}, func(ctx context.Context) error {
		renewed, err := r.renew(ctx)
		if err == nil && !renewed {
			r.unsettled, anew = true, true
			err = r.enter(ctx)
		}
		if err == nil {
			err = r.sweep(ctx)
		}
		return err
	})
	if err != nil {
		return err
	}
	if anew {
		r.rt.stats.registered.Add(1)
	}
	// After the commit, never in the same transaction: of two that register at once, one at least must see the other.
	all, err := r.read(ctx)
	if err != nil {
		return err
	}
	if r.unsettled {
		r.noticed.Store(int64(time.Since(r.base) + noticedWithin(all, r.process, r.declares)))
		r.unsettled = false
	}
	if err := r.identity.check(ctx, r.rt); err != nil {
		return err
	}
	for _, a := range r.rt.accesses {
		a.stand(r.rt, standingOf(all, a.declares))
	}
	if r.rt.replicas != nil {
		r.rt.replicas.stand(!standingOf(all, r.rt.marks.declares()).maintain)
	}
	r.heard.set(r.base, start.Add(stopsAfter*r.rt.cfg.Heartbeat))
	r.alive.set(r.base, start.Add(expiresAfter*r.rt.cfg.Heartbeat))
	return nil
}

// settled holds a write that has been committed until it is harmless, see registry. It returns false if that could not be
// had: then somebody may serve the old row, under an index that this process does not know.
func (r *registry) settled(ctx context.Context) bool {
	if r == nil || r.isSettled(time.Now()) {
		return true
	}
	if err := r.settle(context.WithoutCancel(ctx)); err != nil {
		r.rt.stats.unregistered.Add(1)
		return false
	}
	return true
}

// late tells whether a write that has been committed must be held.
func (r *registry) late() bool { return r != nil && !r.isSettled(time.Now()) }

func (r *registry) isSettled(now time.Time) bool {
	return !r.alive.passed(r.base, now) && int64(now.Sub(r.base)) >= r.noticed.Load()
}

// settle returns when this process is registered and all who serve what it lacks have noticed, or when the database fails.
func (r *registry) settle(ctx context.Context) error {
	for {
		now := time.Now()
		if r.alive.passed(r.base, now) {
			ctx, cancel := context.WithTimeout(ctx, expiresAfter*r.rt.cfg.Heartbeat)
			err := r.beat(ctx)
			cancel()
			if err != nil {
				return err
			}
			continue
		}
		if r.isSettled(now) {
			return nil
		}
		timer := time.NewTimer(time.Duration(r.noticed.Load()) - now.Sub(r.base))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// unheard tells whether an index must not be served at this moment for want of news of the others. Keys are served all the
// same: a database that is away, or too busy to answer, is when hits are needed most. Whoever declares a table knows its
// key, so that a process that could make that wrong is one that does not list the table, or spells its key otherwise.
func (r *registry) unheard(a *access, now time.Time) bool {
	if r == nil || a.Access == a.table.rel.Key || !r.heard.passed(r.base, now) {
		return false
	}
	r.rt.stats.unheard.Add(1)
	return true
}

// close stops the loop and says to the others that this process has gone.
func (r *registry) close(ctx context.Context) {
	if r == nil {
		return
	}
	r.stop()
	<-r.done
	r.alive.set(r.base, r.base) // a later write registers once more
	if err := r.resign(ctx); err != nil {
		r.rt.stats.registryErrors.Add(1)
		r.rt.trouble(ctx, "registry", err) // the row expires
	}
}

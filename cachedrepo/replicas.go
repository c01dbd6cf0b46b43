package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/txhooks"
)

// ReplicaConfig is for reads from streaming replicas; see docs/replicas.md.
type ReplicaConfig struct {
	// MaxLag lets loads that fill the store go to a replica (txhooks.Config.Replicas) which provably has all that was committed
	// more than MaxLag ago, if their key was not written to lately. All processes of a namespace need the same one, also those
	// that have no replicas: whoever writes leaves a mark at each key, for MaxLag and two seconds. 0: no marks, and everything
	// is loaded from the primary. At least 10ms, at most 10m.
	MaxLag time.Duration
}

const (
	minLag = 10 * time.Millisecond
	maxLag = 10 * time.Minute
)

func (cfg ReplicaConfig) check() error {
	if cfg.MaxLag != 0 && (cfg.MaxLag < minLag || cfg.MaxLag > maxLag) {
		return fmt.Errorf("aside: Config.Replicas.MaxLag is %s: 0, or from %s to %s", cfg.MaxLag, minLag, maxLag)
	}
	return nil
}

// replicas are those that loads may be answered by, and what is known of them. Only a load under a lease is, and only if the
// key had no mark after the lease was granted (see marks). All others go to the primary: without a lease, be it another's,
// an intent, or a store that is away, nobody knows what was written lately.
type replicas struct {
	rt       *runtime
	all      []*replica
	maxLag   time.Duration
	patience time.Duration
	history  history
	turn     atomic.Uint32
	refused  atomic.Bool // a process that is registered arms no marks

	mu     sync.Mutex
	since  time.Time            // proof must be later
	epochs map[uint64]time.Time // when each was seen first

	stop    context.CancelFunc
	running sync.WaitGroup
}

// newReplicas returns nil if there are none.
func newReplicas(rt *runtime) (*replicas, error) {
	dbs := rt.db.Replicas()
	if rt.marks == nil || len(dbs) == 0 {
		return nil, nil
	}
	rs := &replicas{
		rt: rt, maxLag: rt.cfg.Replicas.MaxLag, epochs: make(map[uint64]time.Time),
		patience: min(max(rt.cfg.Replicas.MaxLag, 100*time.Millisecond), time.Second),
	}
	for i, db := range dbs {
		if db.Stats().MaxOpenConnections == 1 {
			return nil, fmt.Errorf("aside: replica %d: its pool may have one connection only, which the cache keeps to watch it", i+1)
		}
		rs.all = append(rs.all, newReplica(rs, db, i))
	}
	return rs, nil
}

// start begins to watch the replicas.
func (rs *replicas) start() {
	if rs == nil {
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	rs.stop = stop
	for _, p := range rs.all {
		rs.running.Go(func() { p.run(ctx) })
	}
	rs.running.Go(func() { rs.poll(ctx) })
}

func (rs *replicas) close() {
	if rs != nil {
		rs.stop()
		rs.running.Wait()
	}
}

// poll asks the primary how far it is, then has the replicas asked, four times in the time that they may lag.
func (rs *replicas) poll(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		call, cancel := context.WithTimeout(ctx, rs.patience)
		s, err := askPrimary(call, rs.rt.db)
		cancel()
		switch {
		case err == nil:
			rs.history.add(s, rs.maxLag)
		case ctx.Err() == nil:
			rs.rt.stats.replicaErrors.Add(1)
			rs.rt.trouble(ctx, "replica", fmt.Errorf("aside: how far the primary is could not be read: %w", err))
		}
		for _, p := range rs.all {
			select {
			case p.nudge <- struct{}{}:
			default:
			}
		}
		timer.Reset(min(rs.maxLag/4, time.Second))
	}
}

// looks tells whether a reader should ask for the mark: not if no replica could answer anyway.
func (rs *replicas) looks() bool {
	if rs == nil || rs.refused.Load() {
		return false
	}
	now := time.Now()
	for _, p := range rs.all {
		if p.proven(now, rs.maxLag) != nil {
			return true
		}
	}
	rs.rt.stats.lagging.Add(1)
	return false
}

func (p *replica) proven(now time.Time, within time.Duration) *proof {
	if proof := p.proof.Load(); proof != nil && age(proof.at, now) <= within && proof.life.Err() == nil {
		return proof
	}
	return nil
}

// stand is told by the registry whether all who are registered arm marks. If somebody did not until now, what he has
// written last is not marked: what proves that a replica has it must be later than now.
func (rs *replicas) stand(all bool) {
	if rs == nil {
		return
	}
	if all && rs.refused.Load() {
		rs.forget()
	}
	if was := rs.refused.Swap(!all); was == all {
		rs.rt.cfg.Logger.Info("aside: whether replicas are read has changed, with what the other processes declare", "read", all)
	}
}

// forget has only what is proved from now on count.
func (rs *replicas) forget() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.since = time.Now()
}

// choices are the replicas that a load under key may be answered by, if it was asked for the mark before and there was none.
//
// A server of the store that has lost its memory has lost its marks. What was marked there was committed before that was
// noticed, so a replica must be proven to have all that was. (It is noticed before the answer to acquire is used.) An epoch that
// is seen for the first time counts as a loss: it may have come after the proof was given.
func (rs *replicas) choices(keys ...string) (fresh []choice) {
	if rs.refused.Load() {
		return nil
	}
	if r := rs.rt.registry; r != nil && r.heard.passed(r.base, time.Now()) {
		return nil // somebody may have registered who arms none
	}
	rs.mu.Lock()
	since := rs.since
	if e, ok := rs.rt.store.(store.Epocher); ok {
		for _, key := range keys {
			if epoch := e.Epoch(key); epoch != 0 { // 0: nobody can tell
				if first := rs.firstSeen(epoch); first.After(since) {
					since = first
				}
			}
		}
	}
	rs.mu.Unlock()
	now := time.Now()
	first := int(rs.turn.Add(1))
	for i := range rs.all {
		p := rs.all[(first+i)%len(rs.all)]
		if proof := p.proven(now, rs.maxLag); proof != nil && proof.at.After(since) {
			fresh = append(fresh, choice{p, proof.life})
		}
	}
	return fresh
}

// firstSeen is when this process saw an epoch first. rs.mu is held.
func (rs *replicas) firstSeen(epoch uint64) time.Time {
	at, known := rs.epochs[epoch]
	if !known {
		if len(rs.epochs) >= 1024 { // while nothing is known of a server its epoch is another each time
			clear(rs.epochs)
		}
		at = time.Now()
		rs.epochs[epoch] = at
	}
	return at
}

// choice is a replica that was fresh when it was chosen.
type choice struct {
	*replica
	life context.Context
}

// anywhere runs load: on a replica if the keys were found unmarked, one after the other until one answers, and on the
// primary if none does. An error of the load is an answer if final says so; any other may be the replica's own.
func anywhere[R any](ctx context.Context, rt *runtime, unmarked bool, load func(ctx context.Context) (R, error), final func(err error) bool, keys ...string) (R, error) {
	if unmarked && rt.replicas != nil {
		for _, c := range rt.replicas.choices(keys...) {
			res, err := on(ctx, c, rt, load)
			if (err == nil || final(err)) && c.confirm(ctx, c.life) == nil {
				rt.stats.replicaLoads.Add(1)
				return res, err
			}
			if ctx.Err() != nil {
				return res, errors.Join(err, ctx.Err())
			}
			rt.stats.replicaErrors.Add(1)
		}
	}
	return load(txhooks.OnPrimary(ctx))
}

var errGone = errors.New("aside: a load from a replica panicked or ended its goroutine")

// on runs load on a replica, and leaves it behind when the replica is given up: a frozen server must not cost more than it
// takes to notice.
func on[R any](ctx context.Context, c choice, rt *runtime, load func(ctx context.Context) (R, error)) (R, error) {
	type answer struct {
		res R
		err error
	}
	answers := make(chan answer, 1)
	ctx, cancel := context.WithCancel(rt.db.OnOne(ctx, c.db))
	stop := context.AfterFunc(c.life, cancel)
	landed := rt.flights.takesOff()
	go func() {
		defer landed()
		defer cancel()
		defer stop()
		a := answer{err: errGone}
		defer func() {
			_ = recover() // the primary is asked next, where it is reported
			answers <- a
		}()
		res, err := load(ctx)
		a = answer{res, err}
	}()
	select {
	case a := <-answers:
		return a.res, a.err
	case <-ctx.Done():
		var none R
		return none, context.Cause(ctx)
	}
}

// findings are what Check says of replicas.
func (rs *replicas) findings() (list finding.List) {
	if rs == nil {
		return nil
	}
	add := func(object, text, advice string) {
		list = append(list, finding.Finding{Code: finding.Replica, Severity: finding.Warn, Object: object, Text: text, Advice: advice})
	}
	if rs.refused.Load() {
		add("", "a process is registered that arms no marks, or for another time: nothing is read from replicas", "set the same Config.Replicas.MaxLag in all processes")
	}
	now := time.Now()
	for _, p := range rs.all {
		why := p.faulty.Load()
		switch {
		case why == nil:
		case *why != "":
			add(p.name, "is not read: "+*why, "see docs/replicas.md")
		case p.proven(now, rs.maxLag) == nil:
			add(p.name, "is not read: it lags more than "+rs.maxLag.String(), "see to the replica, or raise Config.Replicas.MaxLag")
		}
	}
	return list
}

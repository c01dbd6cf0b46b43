package cachedrepo

import (
	"context"
	"errors"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// node is what this process thinks of the store: whether to ask it, and what it still has to be told.
//
// Reads ask the store while it is trusted. Trust ends when threshold calls in a row failed, when the store refused a
// write, or when an invalidation could not be sent; it returns when every pending invalidation has been sent and the
// store took them. In between nobody waits for the store: reads go to the database, invalidations to the pending set.
//
// The order matters: a write whose invalidation fails ends the trust *before* it returns, so that a read of this process
// that starts later does not ask a store that still has the old row (P1). Other processes have no reason to distrust;
// for them P1 ends with the report that says "pending".
type node struct {
	rt       *runtime
	distrust atomic.Bool
	failures atomic.Int32

	mu       sync.Mutex
	pending  map[string]struct{}
	sending  int       // taken from pending by a call that is out
	overflow time.Time // until then the store is not trusted: more was pending than could be kept
	probing  bool
	closed   bool
	logged   map[string]bool
	ctx      context.Context // of the prober; ends with close
	stop     context.CancelFunc
	idle     chan struct{} // closed when no prober runs
	repeats  sync.WaitGroup
	closing  sync.Mutex
	after    func(d time.Duration) <-chan time.Time // time.After
}

const (
	threshold  = 3
	firstProbe = 50 * time.Millisecond
	lastProbe  = time.Second
	chunk      = 512 // operations in one call: a deadline that ends a huge call says nothing about the store
)

// errAway stands for the failure of a call that was not made.
var errAway = errors.New("aside: the store is away")

func newNode(rt *runtime) *node {
	n := &node{
		rt: rt, pending: make(map[string]struct{}), logged: make(map[string]bool), idle: make(chan struct{}),
		after: time.After,
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	close(n.idle)
	return n
}

func (n *node) trusted() bool { return !n.distrust.Load() }

// asked tells whether an invalidation is sent at once. After close there is nobody who would send it later.
func (n *node) asked() bool {
	if n.trusted() {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.closed
}

// do calls the store within ctx's deadline and keeps the score. caller is the context of whoever is waiting: its end says
// nothing about the store.
func (n *node) do(ctx, caller context.Context, op string, ops []store.Op, replies []store.Reply) error {
	err := n.rt.store.Do(ctx, ops, replies)
	if err == nil {
		if n.failures.Load() != 0 {
			n.failures.Store(0)
		}
		return nil
	}
	if over(caller) {
		return err
	}
	n.rt.stats.storeErrors.Add(1)
	n.rt.trouble(caller, op, err)
	// A store that refuses writes still answers GET: with rows that nobody can invalidate any more. One that is merely full
	// still deletes.
	refused := errors.Is(err, store.ErrRefused)
	if refused {
		n.rt.stats.storeRefused.Add(1)
	}
	full := errors.Is(err, store.ErrFull)
	if full && op != "invalidate" {
		return err
	}
	if n.failures.Add(1) >= threshold || refused {
		n.mu.Lock()
		n.suspect()
		n.mu.Unlock()
	}
	return err
}

// over tells whether ctx has ended. A socket that was given its deadline notices a moment before the context does.
func over(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

// suspect ends the trust and starts the prober. n.mu is held.
func (n *node) suspect() {
	if !n.distrust.Swap(true) {
		n.rt.stats.opened.Add(1)
	}
	if !n.probing && !n.closed {
		n.probing, n.idle = true, make(chan struct{})
		go n.probe(n.idle)
	}
}

// invalidate ends the values and leases at keys, or keeps them pending. It returns how many are pending now.
func (n *node) invalidate(ctx context.Context, keys []string) int {
	for len(keys) > 0 {
		part := keys[:min(chunk, len(keys))]
		if !n.asked() || n.send(ctx, part) != nil {
			n.keep(keys)
			break
		}
		keys = keys[len(part):]
		n.rt.stats.invalidated.Add(uint64(len(part)))
	}
	return n.waiting()
}

func (n *node) send(ctx context.Context, keys []string) error {
	call, cancel := context.WithTimeout(ctx, n.rt.cfg.WriteTimeout)
	defer cancel()
	return n.do(call, ctx, "invalidate", invalidations(keys), make([]store.Reply, len(keys)))
}

func invalidations(keys []string) []store.Op {
	ops := make([]store.Op, len(keys))
	for i, k := range keys {
		ops[i] = store.Op{Kind: store.Invalidate, Key: k}
	}
	return ops
}

// keep notes keys as pending and ends the trust before it returns.
func (n *node) keep(keys []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, k := range keys {
		if _, known := n.pending[k]; known {
			continue
		}
		if n.closed {
			n.rt.stats.givenUp.Add(1)
			continue
		}
		if len(n.pending) >= n.rt.cfg.MaxPending {
			// What cannot be remembered one by one is remembered as a whole: no entry of today lives longer than this, nor one
			// that is filled under a lease of today.
			n.rt.stats.givenUp.Add(uint64(len(keys) - i))
			n.overflow = time.Now().Add(n.rt.longestLife())
			break
		}
		n.pending[k] = struct{}{}
	}
	n.suspect()
}

// distrustAll has this process stay away from the store until everything that is there now has ended.
func (n *node) distrustAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.overflow = time.Now().Add(n.rt.longestLife())
	n.suspect()
}

func (n *node) waiting() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.pending) + n.sending
}

// later invalidates the keys that parts yields once more after a while, and then calls done. If the cache is closed
// before, they are pending then: close sends them.
func (n *node) later(after time.Duration, parts iter.Seq[[]string], done func()) {
	n.mu.Lock()
	closed := n.closed
	if !closed {
		n.repeats.Add(1)
	}
	n.mu.Unlock()
	if closed {
		done()
		return
	}
	go func() {
		defer n.repeats.Done()
		defer done()
		select {
		case <-n.after(after):
			for keys := range parts {
				n.invalidate(n.ctx, keys)
			}
		case <-n.ctx.Done():
			for keys := range parts {
				n.leave(keys)
			}
		}
	}()
}

// leave makes keys pending for close.
func (n *node) leave(keys []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range keys {
		if _, known := n.pending[k]; !known && len(n.pending) >= n.rt.cfg.MaxPending {
			n.rt.stats.givenUp.Add(1)
			continue
		}
		n.pending[k] = struct{}{}
	}
}

// probe runs while the store is not trusted. It sends what is pending, or, if nothing is, an invalidation of a key that
// nobody uses: a store that answers reads alone does not pass.
func (n *node) probe(idle chan struct{}) {
	defer close(idle)
	pause := firstProbe
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.ctx.Done():
			n.mu.Lock()
			n.probing = false
			n.mu.Unlock()
			return
		}
		if n.flush(n.ctx) == nil && n.restore() {
			return
		}
		timer.Reset(pause)
		pause = min(2*pause, lastProbe)
	}
}

// flush sends what is pending, chunk by chunk, or one invalidation of a key that nobody uses.
func (n *node) flush(ctx context.Context) error {
	for {
		keys := n.take()
		probe := len(keys) == 0
		if probe {
			keys = append(keys, n.rt.cfg.Namespace+":~probe")
		}
		call, cancel := context.WithTimeout(ctx, n.rt.cfg.WriteTimeout)
		err := n.rt.store.Do(call, invalidations(keys), make([]store.Reply, len(keys)))
		cancel()
		if probe {
			return err
		}
		if n.sent(keys, err); err != nil {
			return err
		}
	}
}

// take moves a chunk of what is pending to what is being sent. A key that becomes pending again meanwhile is a new entry:
// the call that is out may reach the store before the commit that the new entry stands for.
func (n *node) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var keys []string
	for k := range n.pending {
		if len(keys) == chunk {
			break
		}
		keys = append(keys, k)
		delete(n.pending, k)
	}
	n.sending = len(keys)
	return keys
}

func (n *node) sent(keys []string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sending = 0
	if err != nil {
		for _, k := range keys {
			n.pending[k] = struct{}{}
		}
		return
	}
	n.rt.stats.invalidated.Add(uint64(len(keys)))
	n.rt.stats.replayed.Add(uint64(len(keys)))
}

// restore trusts the store again, unless something became pending meanwhile.
func (n *node) restore() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.pending) > 0 || time.Now().Before(n.overflow) {
		return false
	}
	n.failures.Store(0)
	n.probing = false
	clear(n.logged)
	n.distrust.Store(false)
	return true
}

// close stops the prober, sends what is pending until ctx ends, and returns how many keys were given up.
func (n *node) close(ctx context.Context) int {
	n.mu.Lock()
	n.closed = true
	n.distrust.Store(true)
	idle := n.idle
	n.mu.Unlock()
	n.stop()
	<-idle
	n.repeats.Wait()
	n.closing.Lock() // flush is for one at a time: the prober, or one Close
	defer n.closing.Unlock()
	for pause := firstProbe; n.waiting() > 0 && n.flush(ctx) != nil && ctx.Err() == nil; pause = min(2*pause, lastProbe) {
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	left := len(n.pending)
	n.rt.stats.givenUp.Add(uint64(left))
	clear(n.pending)
	return left
}

// first tells whether this kind of trouble is new since the store was last trusted.
func (n *node) first(kind string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.logged[kind] {
		return false
	}
	n.logged[kind] = true
	return true
}

package cachedrepo

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// nodes is what this process thinks of the store's servers: which to ask, and what they still have to be told. A store is
// one server unless it says otherwise (store.Sharded).
//
// A read of a key asks the store while the key's server is trusted and no invalidation of the key is pending. The server
// is the one that has the key now; what is pending is one set of keys for the whole process. Were it kept with the servers,
// this would break P1:
//
//  1. W commits; the invalidation of K fails, as K's server N is dead. It is pending, and W returns.
//  2. K's slot moves to the healthy M, with the old row: a failover, or somebody moves slots.
//  3. R asks M, which nobody has a reason to distrust, and gets the old row.
//
// The other way round, N's death must cost the keys of M nothing, neither their entries nor time.
type nodes struct {
	rt      *runtime
	sharded store.Sharded // nil: one server
	only    *node         // that server

	// unsure is false in the usual case: every server is trusted, nothing is pending, and the watch runs. It is all that a
	// read looks at then.
	unsure  atomic.Bool
	failing atomic.Int32 // servers with failures

	mu       sync.Mutex // guards all below, and mending of each node
	byName   map[string]*node
	pending  map[string]owed
	sending  map[string]int // taken from pending by calls that are out
	overflow time.Time      // until then no server is trusted: more was pending than could be kept
	losses   uint64         // how often that happened
	regains  bool           // somebody sees to the end of it
	watched  bool           // the watch runs
	poll     bool           // the database is to be asked which it is, from the first read on
	closed   bool
	logged   map[string]bool

	ctx     context.Context // of all goroutines; ends with close
	stop    context.CancelFunc
	running sync.WaitGroup // probers, the watch, who regains, repeats; grows while not closed
	closing sync.Mutex
	after   func(d time.Duration) <-chan time.Time // time.After
}

// node is one server.
type node struct {
	name     string
	failures atomic.Int32 // calls in a row
	distrust atomic.Bool
	wrote    atomic.Bool  // it took a write since the watch last looked
	kept     atomic.Int64 // how often something became pending for it
	failed   atomic.Int64 // ... because a call failed
	mending  bool         // a prober runs
	key      string       // a key that nobody uses and that it has, for the prober or the watch
	epoch    *uint64      // as the watch saw it last; nil: not yet
}

const (
	threshold  = 3
	firstProbe = 50 * time.Millisecond
	lastProbe  = time.Second
	chunk      = 512 // operations in one call: a deadline that ends a huge call says nothing about the store
)

// errAway stands for the failure of a call that was not made.
var errAway = errors.New("aside: the store is away")

func newNodes(rt *runtime) *nodes {
	n := &nodes{
		rt: rt, byName: make(map[string]*node), pending: make(map[string]owed), sending: make(map[string]int),
		logged: make(map[string]bool), after: time.After,
	}
	if s, ok := rt.store.(store.Sharded); ok && s.Node(rt.probeKey(0)) != "" {
		n.sharded = s
	} else {
		n.only = &node{key: rt.cfg.Namespace + ":~probe"}
		n.byName[""] = n.only
	}
	n.ctx, n.stop = context.WithCancel(context.Background())
	n.judge()
	return n
}

// trusts tells whether a read of key may ask the store.
func (n *nodes) trusts(key string) bool { return !n.unsure.Load() || n.certain(key) }

func (n *nodes) certain(key string) bool {
	name := n.name(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.watch()
	n.watchDatabase()
	if n.closed || n.overflowed() {
		return false
	}
	if _, pending := n.pending[key]; pending || n.sending[key] > 0 {
		return false
	}
	at := n.byName[name]
	return at == nil || !at.distrust.Load()
}

// judge says whether reads must look closer. n.mu is held.
func (n *nodes) judge() {
	unsure := n.closed || n.overflowed() || len(n.pending)+len(n.sending) > 0 || !n.watched && n.rt.cfg.Probe > 0 || n.poll
	for _, at := range n.byName {
		unsure = unsure || at.distrust.Load()
	}
	n.unsure.Store(unsure)
}

// name is the name of the server that has key.
func (n *nodes) name(key string) string {
	if n.sharded == nil {
		return ""
	}
	return n.sharded.Node(key)
}

// of is the server that has key.
func (n *nodes) of(key string) *node {
	if n.only != nil {
		return n.only
	}
	name := n.name(key)
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.named(name)
}

// named is the server with this name. n.mu is held.
func (n *nodes) named(name string) *node {
	at := n.byName[name]
	if at == nil {
		at = &node{name: name}
		n.byName[name] = at
	}
	return at
}

// current is at, or who took its place after it was forgotten for having no keys. n.mu is held.
func (n *nodes) current(at *node) *node {
	if known := n.byName[at.name]; known != nil {
		return known
	}
	n.byName[at.name] = at
	return at
}

// do calls the server at, nil standing for the one that has the first key, within ctx's deadline and keeps the score.
// caller is the context of whoever is waiting: its end says nothing about the store.
func (n *nodes) do(ctx, caller context.Context, at *node, op string, ops []store.Op, replies []store.Reply) error {
	err := n.rt.call(ctx, ops, replies)
	if err == nil {
		wrote := wrote(ops, replies)
		if !wrote && n.failing.Load() == 0 {
			return nil
		}
		if at == nil {
			at = n.of(ops[0].Key)
		}
		if wrote {
			at.wrote.Store(true)
		}
		n.forgive(at)
		return nil
	}
	if over(caller) {
		return err
	}
	n.rt.stats.storeErrors.Add(1)
	n.rt.trouble(caller, op, err)
	if errors.Is(err, store.ErrUnacknowledged) {
		return err // the server is well
	}
	// A server that refuses writes still answers GET: with rows that nobody can invalidate any more. One that is merely full
	// still deletes.
	refused := errors.Is(err, store.ErrRefused)
	if refused {
		n.rt.stats.storeRefused.Add(1)
	}
	writes := op == "invalidate" || op == "probe" || op == "release"
	if errors.Is(err, store.ErrFull) && !writes {
		return err
	}
	if at == nil {
		at = n.of(ops[0].Key)
	}
	failures := at.failures.Add(1)
	if failures == 1 {
		n.failing.Add(1)
	}
	// Who waits for an intent holds row locks, and others wait for these in line: they must not all wait for a dead server.
	if failures >= threshold || refused || op == "probe" || op == "intend" {
		n.mu.Lock()
		n.suspect(at)
		n.mu.Unlock()
	}
	return err
}

// wrote tells whether the server cannot have answered so without being able to write.
func wrote(ops []store.Op, replies []store.Reply) bool {
	switch op, reply := &ops[0], &replies[0]; op.Kind {
	case store.Acquire, store.AcquireOver:
		return reply.State == store.Lease && reply.Token == op.Token
	case store.Fill:
		return !reply.Refused
	case store.Invalidate, store.Intend, store.Release:
		return true
	}
	return false
}

// forgive starts counting anew.
func (n *nodes) forgive(at *node) {
	if at.failures.Load() != 0 && at.failures.Swap(0) != 0 {
		n.failing.Add(-1)
	}
}

// over tells whether ctx has ended. A socket that was given its deadline notices a moment before the context does.
func over(ctx context.Context) bool {
	end, ok := ctx.Deadline()
	return ctx.Err() != nil || ok && !time.Now().Before(end)
}

// suspect ends the trust in a server and has it probed. n.mu is held.
func (n *nodes) suspect(at *node) {
	at = n.current(at)
	if !at.distrust.Swap(true) {
		n.rt.stats.opened.Add(1)
	}
	n.unsure.Store(true)
	n.mend(at)
}

// start runs f on a goroutine that close waits for. n.mu is held.
func (n *nodes) start(f func()) {
	n.running.Add(1)
	go func() {
		defer n.running.Done()
		f()
	}()
}

// group is what concerns one server.
type group[E any] struct {
	at *node
	of []E
}

// split sorts what has keys by the servers that have these.
func split[E any](n *nodes, all []E, key func(E) string) []group[E] {
	if n.only != nil {
		return []group[E]{{n.only, all}}
	}
	var groups []group[E]
	index := make(map[string]int)
	for _, e := range all {
		name := n.name(key(e))
		i, known := index[name]
		if !known {
			i = len(groups)
			index[name] = i
			n.mu.Lock()
			groups = append(groups, group[E]{at: n.named(name)})
			n.mu.Unlock()
		}
		groups[i].of = append(groups[i].of, e)
	}
	return groups
}

// together calls f for all groups at once: a server that is slow costs the others nothing. A panic is the caller's.
func together[E any](groups []group[E], f func(g group[E])) {
	if len(groups) == 1 {
		f(groups[0])
		return
	}
	var wait sync.WaitGroup
	var panicked atomic.Pointer[any]
	for _, g := range groups {
		wait.Go(func() {
			defer func() {
				if p := recover(); p != nil {
					panicked.Store(&p)
				}
			}()
			f(g)
		})
	}
	wait.Wait()
	if p := panicked.Load(); p != nil {
		panic(*p)
	}
}

// close ends all goroutines, sends what is pending until ctx ends, and returns how many keys were given up.
func (n *nodes) close(ctx context.Context) int {
	n.mu.Lock()
	n.closed = true
	n.judge()
	n.mu.Unlock()
	n.stop()
	n.running.Wait()
	n.closing.Lock() // one Close at a time
	defer n.closing.Unlock()
	for pause := firstProbe; n.flushAll(ctx) > 0 && ctx.Err() == nil; pause = min(2*pause, lastProbe) {
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

// first tells whether this kind of trouble is new since all servers were last trusted.
func (n *nodes) first(kind string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.logged[kind] {
		return false
	}
	n.logged[kind] = true
	return true
}

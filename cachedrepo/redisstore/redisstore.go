// Package redisstore keeps a cachedrepo.Cache in Redis 7.0 or later: a single server, one behind Sentinel, or a Cluster.
//
// A hit is one GET, a batch of hits one MGET, a miss one SET more; every other batch is one run of a Lua script that is
// store.Step on the server. On a Cluster there is a command for each key, in one pipeline for each node.
//
// The client is the application's: it is never closed here, and its settings decide how long a dead server is waited
// for. See Tune, Store.Check and Store.Warnings.
package redisstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
)

// Store is a store.Store on a Redis client.
type Store struct {
	client  redis.UniversalClient
	cluster bool  // one key a command
	unfit   error // what Do and Check answer for a client that must not be used
	cfg     Config

	// obeys says that the client's commands end at the context's deadline.
	obeys bool
	// slots bounds the commands that were left behind by callers who did not wait for them.
	slots chan struct{}

	persist  atomic.Bool // tokens carry no Redis expiry, see Check
	plain    atomic.Bool // the server does not know script flags
	noSetGet atomic.Bool // the server does not know SET NX GET

	only    *server       // of a client of one server; nil: a Cluster, whose servers are
	servers servers       // these
	unacked atomic.Uint64 // operations that too few replicas acknowledged
	moves   atomic.Int64  // how many keys are in servers.moved

	mu        sync.Mutex
	settings  []string // of the client, found by New
	atStart   []string // of the server, found by the last Check
	evicts    string   // so was this
	blind     []string // servers that do not tell who they are, and why
	blindTold int      // how many of these Learn has reported
	skewTold  bool     // clocks are apart, and Learn has reported it
}

// Config is for NewWith. The zero value is that of New.
type Config struct {
	// Epoch tells who a server is: a name that changes whenever it may have lost what it was told, and that it never has
	// again. It is asked of every server of a Cluster by itself, after each new connection to it and once a second. nil: by INFO,
	// a name made of its replication id and its run id. Where INFO is not allowed, or an address leads to several servers, as
	// with some hosted services: FixedEpoch, or a func that asks whoever knows. All processes need the same one.
	Epoch func(ctx context.Context, server redis.UniversalClient) (string, error)
	// Acks is how many replicas must have a writer's intent, and should have an invalidation or the end of an intent, before the
	// call returns: WAIT. An intent that fewer have is refused, so that the write is rolled back; of what comes after COMMIT it
	// is counted, see Store.Unacknowledged. It costs the way to the replicas, and with fewer replicas than that AckTimeout each
	// time. Redis may promote a replica that has acknowledged nothing all the same. 0: none are waited for.
	Acks int
	// AckTimeout is the longest wait for Acks, within the caller's deadline. 0: 50ms.
	AckTimeout time.Duration
}

// FixedEpoch is a Config.Epoch for servers that never go back in time, or of which one is content with the TTL: it asks
// nobody. Another name is a new beginning: what is cached under the former is not used.
func FixedEpoch(name string) func(context.Context, redis.UniversalClient) (string, error) {
	return func(context.Context, redis.UniversalClient) (string, error) { return name, nil }
}

var (
	_ store.Store    = (*Store)(nil)
	_ store.Sharded  = (*Store)(nil)
	_ store.Scanner  = (*Store)(nil)
	_ store.Evicting = (*Store)(nil)
	_ store.Epocher  = (*Store)(nil)
	_ store.Learner  = (*Store)(nil)
	_ store.Paired   = (*Store)(nil)
	_ store.Keeping  = (*Store)(nil)
)

const (
	// maxAbandoned is far more than the connections that a pool has: a caller that finds no slot waits for one as it would
	// wait for a connection.
	maxAbandoned = 1024
	// prompt is the longest wait for a context's deadline that may stand in for noticing its cancellation.
	prompt = 250 * time.Millisecond
)

// New returns a store on client. A client that must not be used (a Ring, whose keys move and come back old, or a Cluster
// client that reads from replicas) is refused by Check and by every Do.
//
// The store adds a hook to the client, which notices new connections.
func New(client redis.UniversalClient) *Store { return NewWith(client, Config{}) }

// NewWith is New with settings.
func NewWith(client redis.UniversalClient, cfg Config) *Store {
	s := &Store{client: client, cfg: cfg, slots: make(chan struct{}, maxAbandoned)}
	s.inspect()
	if s.unfit == nil {
		s.watch()
	}
	return s
}

// KeepsTokens implements store.Keeping, with what the last Check has found.
func (s *Store) KeepsTokens() bool { return s.persist.Load() }

// Paired implements store.Paired: on one server a pair is in one script, for maxScript is even. On a Cluster a script is for
// one slot, and two scripts may go to two servers.
func (s *Store) Paired() bool { return !s.cluster }

// Do runs ops. With a client that does not watch deadlines (redis.Options.ContextTimeoutEnabled is off) each call costs
// a goroutine, which stays behind when ctx ends first; so it does for a ctx without a deadline in the near future, because
// the client does not notice a cancellation while it waits for the server. Otherwise a cancellation is noticed at the
// latest with ctx's deadline, within 250 ms.
func (s *Store) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	if s.unfit != nil {
		return s.unfit
	}
	if len(replies) < len(ops) {
		return fmt.Errorf("redisstore: %d operations and room for %d replies", len(ops), len(replies))
	}
	if len(ops) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return failure(ctx, err)
	}
	if s.direct(ctx) {
		return failure(ctx, s.run(ctx, ops, replies))
	}
	return failure(ctx, s.detached(ctx, ops, replies))
}

// direct reports whether the client itself returns (nearly) as soon as ctx is done.
func (s *Store) direct(ctx context.Context) bool {
	if ctx.Done() == nil {
		return true
	}
	deadline, ok := ctx.Deadline()
	return s.obeys && ok && time.Until(deadline) <= prompt
}

// detached runs ops on copies of everything, so that the caller can go on with its own memory.
func (s *Store) detached(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	ops = slices.Clone(ops)
	for i := range ops {
		ops[i].Value = bytes.Clone(ops[i].Value)
	}
	own := make([]store.Reply, len(ops))
	err := s.await(ctx, func() error { return s.run(ctx, ops, own) })
	if err == nil {
		copy(replies, own)
	}
	return err
}

// await calls f in a goroutine and leaves it behind when ctx is done first.
func (s *Store) await(ctx context.Context, f func() error) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() {
		defer func() { <-s.slots }()
		done <- f()
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run runs ops, and once more if the keys turn out to be elsewhere: every operation may run twice.
func (s *Store) run(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	const turns = 3
	for range turns {
		if err := s.once(ctx, ops, replies); err != nil {
			if replaced(err) {
				s.suspectAll(ctx, ops)
			}
			return err
		}
		moved, err := s.redirected(ctx, ops)
		if err != nil {
			return err
		}
		if !moved {
			return s.assure(ctx, ops)
		}
	}
	return errors.New("the keys are on their way between servers")
}

// suspectAll has the servers asked that may be meant by a refusal: they may have been demoted, or be starting.
func (s *Store) suspectAll(ctx context.Context, ops []store.Op) {
	for i := range ops {
		if at := s.server(ctx, ops[i].Key); at != nil {
			at.suspect()
		}
		if s.only != nil {
			return
		}
	}
}

func (s *Store) once(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	if s.cfg.Acks > 0 {
		if lasts, refusable := lasts(ops); lasts {
			return s.acknowledged(ctx, ops, replies, refusable)
		}
	}
	var again []int
	var err error
	if len(ops) == 1 && ops[0].Kind == store.Get { // the hit, and it is worth its own path
		var over bool
		replies[0], over, err = read(s.client.Get(ctx, ops[0].Key).Result())
		if over {
			again = []int{0}
		}
	} else {
		again, err = s.send(ctx, s.plan(ctx, ops), ops, replies)
	}
	if err != nil || len(again) == 0 {
		return err
	}
	// By the local clock these hold nothing but dead tokens. The script looks at the server's clock and removes them.
	_, err = s.send(ctx, s.asked(ctx, ops, again), ops, replies)
	return err
}

// read makes a reply of what GET and SET NX GET answer.
func read(raw string, err error) (r store.Reply, over bool, _ error) {
	switch {
	case err == nil:
		var now int64
		if !strings.HasPrefix(raw, headValue) { // nor does a value end by itself
			now = time.Now().UnixMilli()
		}
		r, over = decode(raw, now)
		return r, over, nil
	case errors.Is(err, redis.Nil):
		return store.Reply{}, false, nil
	case is(err, "WRONGTYPE"):
		return foreign(), false, nil
	}
	return r, false, err
}

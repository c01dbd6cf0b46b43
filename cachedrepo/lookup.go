package cachedrepo

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"

	"github.com/asidego/aside/cachedrepo/store"
)

// rounds shares calls of the store: at most one for a key is out, and whoever comes while it is out waits for the next,
// which all of those share.
//
// Why not join the call that is out? Because it may have been sent before an invalidation that the caller knows of:
//
//  1. R1 sends GET.
//  2. W invalidates the key and returns.
//  3. R2, which starts after W returned, joins R1's call and gets what GET saw before step 2: P1 is broken.
//
// A call that is sent after all of its callers came cannot do that.
type rounds struct {
	seed   maphash.Seed
	shards [32]struct {
		mu sync.Mutex
		m  map[string]*round // the round that is out, or about to be
	}
}

// round is one call. All fields but reply and err are guarded by the shard's mutex.
type round struct {
	sent bool
	done chan struct{} // made by the first who waits
	next *round        // those who came after sent

	reply store.Reply // written before done is closed
	err   error
}

// errLeft says that the caller who led a round gave up before there was an answer.
var errLeft = errors.New("aside: the caller left")

func newRounds() *rounds {
	r := &rounds{seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].m = make(map[string]*round)
	}
	return r
}

// do returns the answer of a call that was sent after do was called. lead makes the call, on the caller's own
// goroutine: it must end when ctx ends. mine is a zero round, kept for the case that the caller leads.
func (r *rounds) do(ctx context.Context, key string, mine *round, lead func() (store.Reply, error)) (store.Reply, error) {
	s := &r.shards[maphash.String(r.seed, key)%uint64(len(r.shards))]
	for {
		s.mu.Lock()
		out := s.m[key]
		if out == nil { // nobody is here: the usual case, without a channel
			mine.sent = true
			s.m[key] = mine
			s.mu.Unlock()
			return r.lead(ctx, key, mine, lead)
		}
		wait := out
		if out.sent {
			if out.next == nil { // the first to come leads the next round
				out.next = mine
				before := out.wait()
				s.mu.Unlock()
				<-before // bounded: a call ends with its own deadline
				s.mu.Lock()
				mine.sent = true
				s.mu.Unlock()
				return r.lead(ctx, key, mine, lead)
			}
			wait = out.next
		}
		done := wait.wait()
		s.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return store.Reply{}, ctx.Err()
		}
		if wait.err != errLeft { //nolint:errorlint // never wrapped
			return wait.reply, wait.err
		}
	}
}

func (r *rounds) lead(ctx context.Context, key string, mine *round, lead func() (store.Reply, error)) (store.Reply, error) {
	mine.err = errLeft // should lead panic
	defer func() {
		s := &r.shards[maphash.String(r.seed, key)%uint64(len(r.shards))]
		s.mu.Lock()
		if mine.next != nil {
			s.m[key] = mine.next
		} else {
			delete(s.m, key)
		}
		if mine.done != nil {
			close(mine.done)
		}
		s.mu.Unlock()
	}()
	reply, err := lead()
	mine.reply, mine.err = reply, err
	if err != nil && over(ctx) {
		mine.err = errLeft // it was this caller's trouble, not the others'
	}
	return reply, err
}

// wait returns the channel that is closed when the round has its answer. The shard's mutex is held.
func (r *round) wait() <-chan struct{} {
	if r.done == nil {
		r.done = make(chan struct{})
	}
	return r.done
}

// Package store is what a cache server must do to serve a cachedrepo.Cache. The author of a store imports this package
// alone, implements Store, and proves the result with the exported suite in cachedrepo/storetest.
//
// The meaning of every operation is Step, one pure function: the in-process store runs it, the Lua script of the Redis
// store is compared with it by random command sequences, and the model check explores it.
package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// ErrRefused says that a server answered and would not do it, which is not the same as being away: it may go on serving
// reads to others who have no reason to distrust it. Nothing is known about the operations, as after any error.
var ErrRefused = errors.New("the cache server refuses")

// ErrFull is the ErrRefused of a server that has no memory left for what is new. It still takes invalidations.
var ErrFull = fmt.Errorf("%w: it is full", ErrRefused)

// ErrUnacknowledged says that a writer's intents are in place, and that fewer replicas have them than are wanted: a failover
// may lose them.
var ErrUnacknowledged = errors.New("too few replicas have acknowledged")

// Store runs operations. A call is one round trip (one per node of a cluster) however many there are; replies[i] answers
// ops[i], and len(replies) == len(ops). Operations on one key run in the order given; nothing is said about the order
// of operations on different keys, nor does a call isolate them from other callers.
//
// An error means that nothing is known about any of them: each may have run, not run, or still run later. Every
// operation is therefore safe to repeat and to arrive late.
//
// Do returns when ctx is done, whatever the server does. Where the server answers but will not serve (disk full, no
// replicas, a replica itself, out of memory, not allowed), errors.Is(err, ErrRefused).
type Store interface {
	Do(ctx context.Context, ops []Op, replies []Reply) error
}

// Op is one atomic operation on one key. Which fields count depends on Kind.
type Op struct {
	Kind OpKind
	Key  string
	// Token is the lease of Acquire, AcquireOver, Fill and Abandon; the writer of Intend, Release, Enter and Leave. For
	// Stamps, Bump, Enter and Leave it also salts the new generation.
	Token Token
	// Value is what Fill stores, and the exact bytes that AcquireOver replaces. A store keeps a copy: after Do the slice is
	// the caller's again.
	Value []byte
	// TTL is the life of what the operation puts there: the lease, the value, the writer's token, the generation. It counts
	// in whole milliseconds, see Millis.
	TTL time.Duration
	// Always has an Intend run on a server that is at its memory limit, as what makes keys smaller does there: it is small,
	// ends soon, and what comes after it must not be refused because of it. Step knows nothing of it.
	Always bool
}

// Millis is TTL in milliseconds, rounded up, and at least 1: what an operation puts there exists for a moment at least.
func (op Op) Millis() int64 {
	ms := int64(op.TTL / time.Millisecond)
	if op.TTL%time.Millisecond > 0 {
		ms++
	}
	return max(1, ms)
}

// OpKind names an operation of the protocol.
type OpKind uint8

// Operations on entries.
const (
	// Get looks and changes nothing.
	Get OpKind = iota
	// Acquire takes the lease of an absent key.
	Acquire
	// AcquireOver takes the lease of a key that holds exactly Value, a value that the caller may not use; any other state is
	// left as Acquire would leave it.
	AcquireOver
	// Fill stores Value if the key holds the caller's lease.
	Fill
	// Abandon gives the caller's lease up.
	Abandon
	// Intend adds a writer's token; it ends values and leases.
	Intend
	// Release removes a writer's token; it ends values and leases, never others' tokens.
	Release
	// Invalidate ends values and leases, never tokens.
	Invalidate
)

// Operations on generations.
const (
	// Stamps reads the generation, makes one if there is none, and lets it live for TTL at least.
	Stamps OpKind = iota + 16
	// Bump ends the generation: its nonce never comes back. Without live tokens the key is absent afterwards.
	Bump
	// Enter starts a new generation and adds a writer's token, which lives for TTL.
	Enter
	// Leave removes a writer's token; if it was not there, it ends the generation.
	Leave
)

// State is what a key holds.
type State uint8

// States of a key.
const (
	Absent     State = iota
	Value            // a cached value
	Lease            // a reader is loading it
	Intent           // writers are about to commit a change to it
	Generation       // the key is a generation, which is no entry
)

// Reply tells what the key holds after the operation.
type Reply struct {
	State State
	// Token is the holder of a Lease (compare it with your own), or the nonce of a Generation.
	Token Token
	// Value is the bytes of a Value after Get, Acquire and AcquireOver; nil after the others. It is not to be changed, and
	// the store does not change it either.
	//
	// It is empty where the key holds something that the store did not write (a neighbour's key, another format): never
	// use an empty Value, take it over by AcquireOver with an empty Op.Value. Hence filling an empty value is useless.
	Value []byte
	// Lost says that Release or Leave did not find its token: the protection had ended before.
	Lost bool
	// Refused says that Fill did not store its value. A Fill that finds the very bytes it brings is not refused: a client that
	// retries after a lost reply must not count as a loss.
	Refused bool
	// Held says that writers hold live tokens on a Generation: what is loaded now must not be cached.
	Held bool
}

// Token is a lease, a writer or a generation: 128 random bits, never reused.
type Token [16]byte

// NewToken returns a token that nobody has had before.
func NewToken() (t Token) {
	_, _ = rand.Read(t[:]) // never fails, see crypto/rand
	return t
}

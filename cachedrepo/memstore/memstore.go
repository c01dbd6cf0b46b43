// Package memstore keeps a cachedrepo.Cache in the memory of this process.
//
// Its promise holds for one process that writes at a time. Two processes have two caches, neither of which hears of the
// other's writes, and a rolling restart of a service with one process is two processes for a while: until the old one is
// gone, the new one may serve what the old one has changed since, up to the value's TTL. With cachedrepo.Config.Registry the
// processes see each other, and none serves anything while there are two.
package memstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// Config of a Store. The zero Config is the default.
type Config struct {
	// MaxBytes bounds the memory of keys and values, with an allowance for what surrounds them; 0 or less: 64 MiB. It is
	// split over up to 16 shards, and a value that does not fit into its shard is not kept. What was used last stays
	// longest. Tokens of writers are never evicted, whatever the bound: they end with their deadlines.
	MaxBytes int64
	// Clock decides what has expired; nil: time.Now.
	Clock func() time.Time
}

const (
	defaultMaxBytes = 64 << 20
	maxShards       = 16      // a power of two
	minShardBytes   = 4 << 20 // so that a value of a megabyte has its place
)

// Store is a store.Store in memory. It has no goroutines and nothing to close.
type Store struct {
	clock  func() time.Time
	seed   maphash.Seed
	shards []*shard // a power of two
	name   string
}

var (
	_ store.Store   = (*Store)(nil)
	_ store.Scanner = (*Store)(nil)
	_ store.Private = (*Store)(nil)
	_ store.Paired  = (*Store)(nil)
)

// New returns an empty store.
func New(cfg Config) *Store {
	if cfg.MaxBytes <= 0 {
		cfg.MaxBytes = defaultMaxBytes
	}
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	n := 1
	for n < maxShards && cfg.MaxBytes/int64(2*n) >= minShardBytes {
		n *= 2
	}
	s := &Store{clock: cfg.Clock, seed: maphash.MakeSeed(), shards: make([]*shard, n), name: rand.Text()}
	for i := range s.shards {
		s.shards[i] = newShard(cfg.MaxBytes / int64(n))
	}
	return s
}

// Paired implements store.Paired: a call runs one operation after the other.
func (s *Store) Paired() bool { return true }

// Private implements store.Private.
func (s *Store) Private() string { return s.name }

// Do runs ops. Its only error, apart from too few replies, is that ctx was done before it began.
func (s *Store) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	if len(replies) < len(ops) {
		return fmt.Errorf("memstore: %d operations and room for %d replies", len(ops), len(replies))
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("memstore: %w", err)
	}
	for i := range ops {
		// The operations of a call count as a microsecond apart: at the same moment two could make the same nonce.
		replies[i] = s.shard(ops[i].Key).do(&ops[i], s.clock, time.Duration(i)*time.Microsecond)
	}
	return nil
}

func (s *Store) shard(key string) *shard {
	return s.shards[maphash.String(s.seed, key)&uint64(len(s.shards)-1)]
}

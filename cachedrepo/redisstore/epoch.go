package redisstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
)

// The epoch of a server is made of its replication id, which is a new one whenever a server becomes a master or starts as
// one, and of its run id. The run id alone would not do: A is promoted, then B, then A again, and entries from before the
// first and after the second failover lie side by side under the same run id of A.
//
// Which connection a command went over cannot be seen through a client. So the epoch is doubted whenever a connection is
// made, before anything is sent over it, and when a server refuses to serve; and as long as it is doubted, no call that
// looks at keys returns before the server has been asked again, after the keys. What is asked after the answer cannot be
// older than the answer.
//
// That leaves one case: a client that holds connections to two servers at once, because an address leads to more than
// one, or has been led elsewhere while the old server lives. Learn finds out within a second.

// server is one server, of which the store knows who it is.
type server struct {
	client redis.UniversalClient
	name   string // its address; empty if there is one server only

	epoch atomic.Uint64 // 0 is not known, unless blind
	blind atomic.Bool   // who it is cannot be found out
	doubt atomic.Uint64 // grows with each reason to ask again
	known atomic.Uint64 // what doubt was when the last question was asked that was answered
	ahead atomic.Int64  // its clock less this machine's, in ms, as far as it is certain
	turn  chan struct{} // one question at a time, so that answers come in the order of the questions

	former  []uint64 // epochs before this one; guarded by turn
	returns int      // how often one of them came back; guarded by turn
}

func newServer(client redis.UniversalClient, name string) *server {
	at := &server{client: client, name: name, turn: make(chan struct{}, 1)}
	at.doubt.Store(1)
	return at
}

func (at *server) doubted() bool { return at.doubt.Load() != at.known.Load() }

// suspect has the server asked before the next answer counts.
func (at *server) suspect() { at.doubt.Add(1) }

// Epoch implements store.Epocher.
func (s *Store) Epoch(key string) uint64 {
	at := s.only
	if at == nil {
		if at = s.server(ended, key); at == nil {
			return rand.Uint64()
		}
	}
	if e := at.epoch.Load(); e != 0 || at.blind.Load() {
		return e
	}
	return rand.Uint64()
}

// assure returns when it is certain who answered, or fails.
func (s *Store) assure(ctx context.Context, ops []store.Op) error {
	if s.only != nil {
		if !s.only.doubted() || !looks(ops) {
			return nil
		}
		return s.ask(ctx, s.only, false)
	}
	if !looks(ops) {
		return nil
	}
	for i := range ops {
		at := s.server(ctx, ops[i].Key)
		if at == nil {
			return errors.New("the Cluster's servers are not known")
		}
		if at.doubted() {
			if err := s.ask(ctx, at, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// looks tells whether replies show what keys hold. Who merely writes needs no epoch.
func looks(ops []store.Op) bool {
	return slices.ContainsFunc(ops, func(op store.Op) bool {
		return op.Kind <= store.AcquireOver || op.Kind == store.Stamps
	})
}

// ask finds out who a server is if that is in doubt, or anyhow.
func (s *Store) ask(ctx context.Context, at *server, anyhow bool) error {
	if !anyhow && !at.doubted() {
		return nil
	}
	select {
	case at.turn <- struct{}{}:
		defer func() { <-at.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	doubt := at.doubt.Load()
	if at.blind.Load() || !anyhow && doubt == at.known.Load() {
		at.known.Store(doubt)
		return nil
	}
	name, err := s.whoIs(ctx, at)
	switch {
	case err == nil:
		s.learned(at, name)
	case isMute(err):
		s.giveUp(at, err.Error())
	default:
		if anyhow && errors.Is(err, store.ErrRefused) {
			at.suspect() // a replica: readers have to know
		}
		return err
	}
	at.known.Store(doubt)
	return nil
}

// Answers that prove two servers behind one address: an epoch never comes back by itself. Few may be a client that was led
// elsewhere and still has a connection to the former place.
const maxReturns = 4

// learned notes who a server is. at.turn is held.
func (s *Store) learned(at *server, name string) {
	sum := sha256.Sum256([]byte("redis " + name))
	e := max(1, binary.BigEndian.Uint64(sum[:]))
	was := at.epoch.Load()
	if e == was {
		return
	}
	if slices.Contains(at.former, e) {
		if at.returns++; at.returns >= maxReturns {
			s.giveUp(at, "several servers answer at this address in turns")
			return
		}
	}
	if was != 0 {
		at.former = append(at.former, was)
		at.former = at.former[max(0, len(at.former)-16):]
	}
	at.epoch.Store(e)
}

// giveUp ends the search for who a server is: what is cached there is good for its TTL, whatever becomes of the server.
func (s *Store) giveUp(at *server, why string) {
	at.blind.Store(true)
	at.epoch.Store(0)
	text := "a failover cannot be noticed: " + why
	if at.name != "" {
		text = at.name + ": " + text
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind = append(s.blind, text+"; entries that it brings back are used for up to their TTL: allow INFO, or set redisstore.Config.Epoch")
}

// errMute says that a server will never tell who it is.
type errMute struct{ error }

func (e errMute) Unwrap() error { return e.error }

func isMute(err error) bool { return errors.As(err, new(errMute)) }

// whoIs asks a server.
func (s *Store) whoIs(ctx context.Context, at *server) (string, error) {
	if s.cfg.Epoch != nil {
		return s.cfg.Epoch(ctx, at.client)
	}
	// Two commands: INFO knows one section before Redis 7.
	pipe := at.client.Pipeline()
	run, repl, clock := pipe.Info(ctx, "server"), pipe.Info(ctx, "replication"), pipe.Time(ctx)
	before := time.Now()
	_, _ = pipe.Exec(ctx)
	if now, err := clock.Result(); err == nil {
		at.noteClock(now, before, time.Now())
	}
	if err := repl.Err(); err != nil {
		if text := serverError(err); text != "" && (!refused(err) || strings.HasPrefix(text, "NOPERM")) {
			return "", errMute{fmt.Errorf("INFO is not allowed, or not known: %w", err)}
		}
		return "", err
	}
	fields := make(map[string]string)
	for _, text := range []string{run.Val(), repl.Val()} {
		for line := range strings.Lines(text) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[name] = value
			}
		}
	}
	switch {
	case fields["role"] == "slave":
		return "", fmt.Errorf("%w: it is a replica", store.ErrRefused)
	case fields["master_replid"] == "":
		return "", errMute{errors.New("INFO shows no replication id")}
	}
	return fields["master_replid"] + " " + fields["run_id"], nil
}

// Learn implements store.Learner: it asks all masters who they are. What cannot be found out is reported once.
func (s *Store) Learn(ctx context.Context) error {
	if s.unfit != nil {
		return s.unfit
	}
	err := s.await(ctx, func() error {
		if s.only != nil {
			return s.ask(ctx, s.only, true)
		}
		return s.learnAll(ctx)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; s.blindTold < len(s.blind); s.blindTold++ {
		err = errors.Join(err, errors.New("redisstore: "+s.blind[s.blindTold]))
	}
	return errors.Join(err, s.clocks())
}

package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// Strict mode, for tables with model.Spec.Strict. In default mode there is a window between a COMMIT and its invalidation in
// which one reader gets the new row and the next one the old (history 4). A strict writer closes it by saying so before: at
// each key of each row that it changes it places its intent, a token with a deadline. While a key holds one, everybody reads
// the database and nobody stores what was read. The order is all there is to it, and each step has its file:
//
//	limits.go   in the transaction: deferred triggers run now, and the server will cut a connection that is silent for long
//	intents.go  the intents; COMMIT is sent only while they are good for a while longer, and they are renewed while it is out
//	            COMMIT
//	release.go  after it the intents are taken back; if nobody knows whether it was a COMMIT they are left to their deadline
//
// What each of these is for shows in what happens without it:
//
//   - Without the deferred triggers, rows that they change would be changed within COMMIT, with no intent anywhere.
//   - Without a limit that the server keeps, a process that is stopped between its intents and its COMMIT, and wakes up after
//     their deadline, would change the row behind the back of those who have stored it since (history 11).
//   - COMMIT itself has no limit in PostgreSQL: it may wait for a synchronous standby. Hence the renewal, by a writer that
//     lives. What is left is a writer that died while its COMMIT was stuck for longer than the deadline.
//   - Released in doubt, an intent would end before the server has committed (history 7).
//   - Released by a blind delete, it would take with it the intent of another (history 12).
//
// Strict and default-mode writers may meet at a key: an invalidation leaves intents as they are, and a release ends what a
// reader has stored meanwhile.

// StrictConfig is for tables with model.Spec.Strict; see docs/strict.md.
type StrictConfig struct {
	// Deadline is how long an intent stands when its writer has died, or does not know whether it has committed: that long
	// the keys that it was about to change are read from the database. It must be longer than a COMMIT takes of a writer that
	// has died meanwhile; that of one that lives may take any time. 0: 30s; at most 1h.
	Deadline time.Duration
	// Margin is what is kept of Deadline for clocks that differ, such as those of a Redis server and its replica that is
	// promoted. COMMIT must have been sent after Deadline less Margin, or the transaction rolls back; for that long the server
	// lets a transaction be idle (idle_in_transaction_session_timeout, unless it is shorter already). 0: 2s.
	Margin time.Duration
	// OnAway is what becomes of a write whose intents cannot be placed.
	OnAway OnAway
}

// OnAway says what a strict write does while the store is away.
type OnAway uint8

const (
	// Refuse rolls the write back; its error is ErrStrictRefused.
	Refuse OnAway = iota
	// GoOn commits without intents, as default mode does, and counts it in Stats.Unguarded: what one reader has seen of such
	// a write, the next one may not.
	GoOn
)

// ErrStrictRefused is matched by the error of a write to a strict table that was rolled back because it could not announce
// itself in the store. The error says which table, and why; nothing was written.
var ErrStrictRefused = errors.New("aside: rolled back: a strict write could not be announced")

const maxDeadline = time.Hour

func (cfg StrictConfig) withDefaults() (StrictConfig, error) {
	switch {
	case cfg.Deadline < 0:
		return cfg, errors.New("aside: Config.Strict.Deadline is negative")
	case cfg.Margin < 0:
		return cfg, errors.New("aside: Config.Strict.Margin is negative")
	case cfg.OnAway > GoOn:
		return cfg, fmt.Errorf("aside: Config.Strict.OnAway is %d", cfg.OnAway)
	}
	if cfg.Deadline == 0 {
		cfg.Deadline = 30 * time.Second
	}
	if cfg.Margin == 0 {
		cfg.Margin = 2 * time.Second
	}
	if cfg.Deadline > maxDeadline {
		return cfg, fmt.Errorf("aside: Config.Strict.Deadline is %s: at most %s", cfg.Deadline, maxDeadline)
	}
	if cfg.time() < time.Millisecond {
		return cfg, fmt.Errorf("aside: Config.Strict.Deadline is %s, of which the Margin of %s leaves nothing", cfg.Deadline, cfg.Margin)
	}
	return cfg, nil
}

// time is what a writer has from its first intent to COMMIT.
func (cfg StrictConfig) time() time.Duration { return cfg.Deadline - cfg.Margin }

// strict is what a runtime with strict tables has for them.
type strict struct {
	rt       *runtime
	cfg      StrictConfig
	limits   string // the statement that comes before COMMIT
	prepared recent

	lostLog throttle

	mu     sync.Mutex
	writes map[txhooks.ID]*strictWrite // from Guard to Ended
}

// newStrict returns nil if no table is strict: then a transaction passes by with one look at a nil.
func newStrict(rt *runtime) *strict {
	for rel := range rt.tables {
		if rel.Strict {
			return &strict{rt: rt, cfg: rt.cfg.Strict, limits: limits(rt.cfg.Strict.time()), writes: make(map[txhooks.ID]*strictWrite)}
		}
	}
	return nil
}

// concerns tells whether rows of strict tables are among the changes.
func (s *strict) concerns(changes txhooks.Changes) bool {
	for _, rel := range changes.Tables() {
		if s.known(rel) {
			return true
		}
	}
	return false
}

func (s *strict) known(rel *model.Relation) bool { return rel.Strict && s.rt.tables[rel] != nil }

// strictSubscriber is what a runtime with strict tables subscribes as. Others have no part in what comes before COMMIT, and
// nobody asks them.
type strictSubscriber struct{ *runtime }

var (
	_ txhooks.Preparer = strictSubscriber{}
	_ txhooks.Stager   = strictSubscriber{}
	_ txhooks.Guard    = strictSubscriber{}
)

// subscriber is rt as the transactions should know it.
func (rt *runtime) subscriber() txhooks.Subscriber {
	if rt.strict != nil {
		return strictSubscriber{rt}
	}
	return rt
}

// Prepare has deferred triggers run and limits set, if rows of strict tables were changed or touched. It implements
// txhooks.Preparer.
func (s strictSubscriber) Prepare(ctx context.Context, changes txhooks.Changes) error {
	if !s.strict.concerns(changes) {
		return nil
	}
	return s.strict.limit(ctx, changes.ID())
}

// Stage does what Prepare does where only what came after Prepare, such as what triggers wrote down, shows that rows of
// strict tables were changed. It implements txhooks.Stager.
func (s strictSubscriber) Stage(ctx context.Context, changes txhooks.Changes) error {
	if !s.strict.concerns(changes) || s.strict.prepared.has(changes.ID()) {
		return nil
	}
	return s.strict.limit(ctx, changes.ID())
}

// Guard places the intents. It implements txhooks.Guard.
func (s strictSubscriber) Guard(ctx context.Context, changes txhooks.Changes) (until time.Time, err error) {
	if !s.strict.concerns(changes) {
		return time.Time{}, nil
	}
	return s.strict.begin(ctx, changes)
}

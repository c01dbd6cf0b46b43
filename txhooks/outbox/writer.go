package outbox

import (
	"context"
	"database/sql"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/internal/conns"
)

// writer writes down what the transactions of one pool change, once, however many consumers the process has.
type writer struct {
	db    *txhooks.DB
	pool  *sql.DB
	doubt time.Duration
	names atomic.Pointer[tables]
	known sync.Map // of *model.Relation: its name with the schema

	staged, resolved, unresolved atomic.Uint64

	captured atomic.Pointer[capture] // nil: not known

	cancel func()           // the subscription
	users  int              // guarded by writers
	serves map[*Outbox]bool // guarded by writers: those that have a consumer

	mu        sync.Mutex
	sent, old map[txhooks.ID]stage // see remember
	turned    time.Time
}

var (
	_ txhooks.Preparer = (*writer)(nil)
	_ txhooks.Stager   = (*writer)(nil)
	_ txhooks.Resolver = (*writer)(nil)
	_ txhooks.Settler  = (*writer)(nil)
)

var writers = struct {
	sync.Mutex
	of map[*sql.DB]*writer
}{of: make(map[*sql.DB]*writer)}

// join returns the pool's writer, which ends when all who joined have left.
func join(ctx context.Context, db *txhooks.DB, cfg Config) (*writer, error) {
	pool := conns.Of(db)
	ctx, cancel := context.WithTimeout(ctx, registerTimeout)
	defer cancel()
	names, err := find(ctx, pool)
	if err != nil && unusable(err) {
		return nil, err
	}
	writers.Lock()
	defer writers.Unlock()
	w := writers.of[pool]
	if w == nil {
		w = &writer{db: db, pool: pool, doubt: cfg.Doubt}
		writers.of[pool] = w
		w.cancel = db.Subscribe(w)
	}
	if names != nil {
		w.names.Store(names)
	}
	w.users++
	return w, nil
}

func (w *writer) leave() {
	writers.Lock()
	defer writers.Unlock()
	if w.users--; w.users == 0 {
		delete(writers.of, w.pool)
		w.cancel()
	}
}

// Ended implements txhooks.Subscriber.
func (w *writer) Ended(context.Context, txhooks.Outcome, txhooks.Changes) int { return 0 }

// Stage implements txhooks.Stager. It sends one INSERT, and one more for each further 1,000 changes: all rows have the
// transaction's ID, so that each of them is its witness, and whoever acknowledges it acknowledges all.
//
// What comes back tells the transaction apart if COMMIT is not answered, see Resolve; to ask for it later would cost a
// round trip.
func (w *writer) Stage(ctx context.Context, changes txhooks.Changes) error {
	id := changes.ID()
	insert := "INSERT INTO " + w.tables().outbox + " (tx, changes) VALUES ($1::text::uuid, $2::text::jsonb) RETURNING xid::text, " + incarnation
	for part, err := range w.encode(w.beyond(id, changes.All())) {
		if err != nil {
			return fmt.Errorf("aside: outbox: %w", err)
		}
		var s stage
		if err := w.db.QueryRowContext(ctx, insert, uuid(id), part).Scan(&s.xid, &s.incarnation); err != nil {
			return fmt.Errorf("aside: outbox: the changes could not be written down: %w", err)
		}
		w.remember(id, s)
		w.staged.Add(1)
	}
	// A change that is not written down is one that nobody would be told of if we died: better no transaction.
	if err := changes.Err(); err != nil {
		return fmt.Errorf("aside: outbox: %w", err)
	}
	return nil
}

func uuid(id txhooks.ID) string { return hex.EncodeToString(id[:]) }

// stage is what a transaction knows of itself before COMMIT.
type stage struct {
	xid         string
	incarnation int64
	captured    images // until the row is written
}

// remember keeps a stage until Settled, or for a few minutes: an attempt that is rolled back and made again is not settled.
func (w *writer) remember(id txhooks.ID, s stage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if now := time.Now(); now.Sub(w.turned) > rememberFor {
		w.old, w.sent, w.turned = w.sent, make(map[txhooks.ID]stage), now
	}
	w.sent[id] = s
}

const rememberFor = 2 * time.Minute

func (w *writer) recall(id txhooks.ID) (stage, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s, ok := w.sent[id]
	if !ok {
		s, ok = w.old[id]
	}
	return s, ok
}

// Settled implements txhooks.Settler.
func (w *writer) Settled(_ context.Context, _ txhooks.Outcome, changes txhooks.Changes, _ int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.sent, changes.ID())
	delete(w.old, changes.ID())
}

// tables are the names of the outbox's own tables, with their schema: a transaction may have set another search_path.
type tables struct{ outbox, consumers, parked, captured string }

func (w *writer) tables() *tables {
	if t := w.names.Load(); t != nil {
		return t
	}
	return &tables{"aside_outbox", "aside_consumers", "aside_parked", "aside_captured"}
}

// find returns the names of the tables, or an error if they are not there.
func find(ctx context.Context, pool *sql.DB) (*tables, error) {
	var schema string
	if err := pool.QueryRowContext(ctx, `SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = 'aside_outbox'::regclass`).Scan(&schema); err != nil {
		return nil, err
	}
	return &tables{schema + ".aside_outbox", schema + ".aside_consumers", schema + ".aside_parked", schema + ".aside_captured"}, nil
}

// name is what rows call a table: schema and name, if the database has told us the schema.
func (w *writer) name(rel *model.Relation) string {
	if name, ok := w.known.Load(rel); ok {
		return name.(string)
	}
	return rel.Name
}

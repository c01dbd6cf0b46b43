package txhooks

import (
	"context"
	"database/sql"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/txhooks/internal/conns"
)

func init() { conns.Of = func(db any) *sql.DB { return db.(*DB).sql() } }

// Config has working zero values.
type Config struct {
	HookTimeout time.Duration                          // for all hooks of one transaction, and again for all subscribers, and for these once more for each 10,000 changes; 0: 5s
	Scope       func(ctx context.Context) (any, error) // the tenant of a call, for tables with a Scope column; nil: none
	Logger      *slog.Logger                           // told of hooks that panic; nil: slog.Default()

	// Replicas are streaming replicas of the database, for reads that say that one may answer them, see OnReplica: all else
	// goes to the primary. Each must be one server: not an address behind which there are several, nor a pooler. nil: none.
	Replicas []*sqlx.DB

	// RefuseOuter has statements, Run and cached reads fail with ErrOuterContext that the function given to Run, or what it
	// calls, makes on the context outside the transaction, or on one made from that. It is for tests: each Run and each
	// statement outside one then reads its goroutine's number.
	RefuseOuter bool
}

// DB is a *sqlx.DB whose statements join the transaction in their context. It has the ExecContext, NamedExecContext,
// GetContext, SelectContext, QueryContext, QueryRowContext, QueryxContext, QueryRowxContext and PrepareContext of
// *sqlx.DB, hence fits sqlx.ExtContext and sqlc's DBTX. Outside Run the Exec methods open a transaction, the Query methods
// are for reading, and PrepareContext fails: such a statement would never join a transaction. There is no Begin.
// Two DBs over one *sql.DB share their transactions and subscribers.
type DB struct {
	conn     *sqlx.DB
	pool     *pool
	config   Config
	replicas *replicas
}

// New does not connect.
func New(db *sqlx.DB, cfg Config) *DB {
	if cfg.HookTimeout == 0 {
		cfg.HookTimeout = hookTimeout
	}
	return &DB{conn: db, pool: poolOf(db.DB), config: cfg, replicas: &replicas{rest: make([]atomic.Int64, len(cfg.Replicas))}}
}

// In tells whether ctx carries a transaction of db, be it open or finished.
func (db *DB) In(ctx context.Context) bool { return db.frame(ctx) != nil }

// Tx returns the transaction in ctx for libraries that want one (River's InsertTx). Do not end it: Run then fails with
// ErrEndedOutside, for which it asks the server when the transaction began, here and before COMMIT. What is sent through it
// is not seen here: Touch reads at once in such a transaction instead of waiting for the next statement. A finished
// transaction is returned too; its methods fail with sql.ErrTxDone.
func (db *DB) Tx(ctx context.Context) (*sqlx.Tx, bool) {
	f := db.frame(ctx)
	if f == nil {
		return nil, false
	}
	f.tx.handOut(ctx)
	return f.tx.tx, true
}

// Sent returns how many statements went through the transaction in ctx, Tx and PrepareContext counting as one each; 0
// outside a transaction. The reads of Touch do not count.
func (db *DB) Sent(ctx context.Context) int {
	f := db.frame(ctx)
	if f == nil {
		return 0
	}
	f.tx.mu.Lock()
	defer f.tx.mu.Unlock()
	return f.tx.sent
}

// Exhausted tells whether all connections that the pool may have are in use now.
func (db *DB) Exhausted() bool {
	s := db.conn.Stats()
	return s.MaxOpenConnections > 0 && s.InUse >= s.MaxOpenConnections
}

// HookFailures returns how many hooks and subscribers of this *sql.DB's transactions panicked or ended their goroutine.
// Each was logged.
func (db *DB) HookFailures() int64 { return db.pool.failures.Load() }

// SpoolFailures returns how many transactions of this *sql.DB kept the list of what they changed in memory, whatever its
// length, because a temporary file could not be made or written (see os.TempDir). The first was logged.
func (db *DB) SpoolFailures() int64 { return db.pool.crowded.Load() }

// sql is the pool that all is keyed by.
func (db *DB) sql() *sql.DB { return db.conn.DB }

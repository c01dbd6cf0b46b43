package outbox

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/internal/conns"
)

// Consumer is who is told of changes: a *cachedrepo.Cache.
type Consumer interface {
	// Namespace is the name of what the consumer's processes share. Two consumers with one name do each other's work.
	Namespace() string
	// Declares lists the indexes that it invalidates, each with all that decides how its keys are spelled: of one namespace,
	// those that do not declare the same are two consumers, for what one has done is not done for the other.
	Declares() []string
	// Relations are the tables that it keeps something of. It is not told of others.
	Relations() []*model.Relation
	// Deliver ends what it keeps of the rows that these committed transactions changed. It must be ready to be told twice, and
	// late. An error with a method Away() bool that returns true says that the store is away: nothing is wrong with the
	// changes.
	Deliver(ctx context.Context, transactions ...txhooks.Changes) error
	// RetireIndexes ends everything that it keeps under keys and indexes, all that it keeps if there are none.
	RetireIndexes(ctx context.Context, indexes ...*model.Access) error
	// A consumer may have a method OnMove(f func(ctx context.Context) error), which has f called when its store has forgotten
	// what it was told lately: then it is told again, see Replay.
}

// Config has working zero values.
type Config struct {
	// Name tells consumers apart whose Namespace is the same although they share no store: two regions, blue and green.
	// Empty: the Namespace.
	Name string
	// Poll is how often the relay looks for what is left; a quarter more or less. 0: 200ms.
	Poll time.Duration
	// Grace is how long a row is left to its writer, which acknowledges what it has invalidated. 0: 300ms.
	Grace time.Duration
	// Keep is how long rows are kept after all consumers have acknowledged them, for Replay. 0: 1m.
	Keep time.Duration
	// Expire is after how long without a sign of life a consumer is given up: rows do not wait for it any longer, and it ends
	// all its entries when it returns. 0: 5m.
	Expire time.Duration
	// Doubt is how long Run waits to find out what became of a COMMIT whose answer was lost. 0: 2s; < 0: not at all.
	Doubt time.Duration
	// Logger is told of what needs somebody's attention. nil: slog.Default().
	Logger *slog.Logger
}

func (cfg Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"Poll", &cfg.Poll, 200 * time.Millisecond},
		{"Grace", &cfg.Grace, 300 * time.Millisecond},
		{"Keep", &cfg.Keep, time.Minute},
		{"Expire", &cfg.Expire, 5 * time.Minute},
	} {
		if *d.value < 0 {
			return cfg, fmt.Errorf("aside: outbox: Config.%s is negative", d.name)
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
	}
	if cfg.Doubt == 0 {
		cfg.Doubt = 2 * time.Second
	}
	if cfg.Keep < 2*cfg.Doubt {
		return cfg, fmt.Errorf("aside: outbox: Config.Keep is %s: at least twice Doubt, or the witness of a transaction may be gone before it is asked for", cfg.Keep)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return cfg, nil
}

// Outbox is one consumer's part in a process. It is safe for concurrent use.
type Outbox struct {
	consumer Consumer // nil: this process only writes
	cfg      Config
	db       *sql.DB
	writer   *writer
	name     string
	declares string // hash of indexes
	indexes  []string

	id atomic.Int32 // the consumer's; 0: not registered yet

	acks    acks
	count   counters
	ctx     context.Context // of all goroutines
	stop    context.CancelFunc
	running sync.WaitGroup
	leave   []func() // ends the subscriptions
	closed  sync.Once
}

// Start registers the consumer c, has all transactions on db's pool write down what they change, and starts a relay. Call it
// once for each cache, right after it was made and before its process serves anybody: of what was committed earlier it is told
// what is left in the table. c may be nil in a process that writes and has no cache.
//
// It fails if the tables are not there or may not be used; it does not fail because the database cannot be reached. If the
// consumer had expired, Start ends its entries, for which it waits up to 10 s.
func Start(db *txhooks.DB, c Consumer, cfg Config) (*Outbox, error) {
	if db == nil {
		return nil, errors.New("aside: outbox: Start needs a database")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	o := &Outbox{consumer: c, cfg: cfg, db: conns.Of(db)}
	o.acks.wake = make(chan struct{}, 1)
	o.ctx, o.stop = context.WithCancel(context.Background())
	o.writer, err = join(o.ctx, db, cfg)
	if err != nil {
		o.stop()
		return nil, fmt.Errorf("aside: outbox: %w", err)
	}
	o.leave = append(o.leave, o.writer.leave)
	if c == nil {
		o.running.Go(o.purgeAlone)
		return o, nil
	}
	o.name, o.indexes = cfg.Name, c.Declares()
	if o.name == "" {
		o.name = c.Namespace()
	}
	sum := sha256.Sum256([]byte(strings.Join(o.indexes, "\n")))
	o.declares = hex.EncodeToString(sum[:16])
	// Before the first row can be acknowledged or claimed.
	o.leave = append(o.leave, db.Subscribe(&settler{o}))
	ctx, cancel := context.WithTimeout(o.ctx, registerTimeout)
	defer cancel()
	if err := o.register(ctx); err != nil {
		if unusable(err) {
			_ = o.Close(ctx)
			return nil, fmt.Errorf("aside: outbox: the tables that migrations.Apply makes are needed, and may be read and written: %w", err)
		}
		o.trouble("register", err)
	} else if err := o.payDebt(ctx); err != nil {
		o.trouble("retire", err)
	}
	o.leave = append(o.leave, o.writer.serve(o))
	if _, err := o.writer.look(ctx, o.db); err != nil {
		o.trouble("capture", err)
	}
	o.running.Go(o.keep)
	o.running.Go(o.relay)
	o.running.Go(o.acknowledge)
	o.listen()
	return o, nil
}

// registerTimeout bounds what Start waits for.
const registerTimeout = 10 * time.Second

// Close ends the relay and acknowledges what was invalidated, until ctx ends, or for 5 s if ctx has no deadline. Call it
// after the last write and before the cache is closed. Rows that are left are other processes' to deliver, or those of the
// next start. Transactions that begin later are not written down.
func (o *Outbox) Close(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, closeTimeout)
		defer cancel()
	}
	o.closed.Do(func() {
		for _, leave := range o.leave {
			leave()
		}
	})
	o.stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		o.running.Wait()
	}()
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("aside: outbox: the relay does not end: %w", ctx.Err())
	}
	o.flush(ctx)
	return nil
}

const closeTimeout = 5 * time.Second

// settler hears of transactions of this process that are over.
type settler struct{ o *Outbox }

var _ txhooks.Settler = (*settler)(nil)

// Ended implements txhooks.Subscriber. Who has keys to invalidate is another subscriber.
func (s *settler) Ended(context.Context, txhooks.Outcome, txhooks.Changes) int { return 0 }

// Settled implements txhooks.Settler: what every subscriber has done need not be delivered any more. While anything is
// pending, or the outcome is not known, the row stays: whoever sends it again is this process alone.
func (s *settler) Settled(_ context.Context, out txhooks.Outcome, changes txhooks.Changes, pending int) {
	if out == txhooks.Committed && pending == 0 {
		s.o.acks.add(changes.ID())
	}
}

// trouble logs what is swallowed, the first of each kind until it works again.
func (o *Outbox) trouble(op string, err error) {
	if o.ctx.Err() != nil {
		return
	}
	o.count.errors.Add(1)
	if _, known := o.count.logged.LoadOrStore(op, true); !known {
		o.cfg.Logger.Warn("aside: trouble with the outbox; it is tried again", "consumer", o.name, "op", op, "err", err)
	}
}

func (o *Outbox) works(op string) { o.count.logged.Delete(op) }

// unusable tells of errors that no waiting mends: no such table or column, no permission.
func unusable(err error) bool {
	var of interface{ SQLState() string }
	if !errors.As(err, &of) {
		return false
	}
	state := of.SQLState()
	return strings.HasPrefix(state, "42") || strings.HasPrefix(state, "3F")
}

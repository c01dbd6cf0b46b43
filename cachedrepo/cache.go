package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// Config needs Namespace and Tables.
type Config struct {
	Namespace string        // first part of every key; one per database; 1 to 64 letters, digits and _.-
	Tables    model.Tables  // all tables, also in a process that only writes
	TTL       time.Duration // the last line of defence; 0: 10m; each entry lives up to a tenth longer or shorter
	Timeout   time.Duration // longest wait for the store, for each read as a whole; 0: 50ms
	MaxLoads  int           // concurrent loads from the database; 0: 64
	Observer  *Observer     // nil: Stats alone

	// WriteTimeout is the longest wait of a committed write for its invalidations. It is longer than Timeout, because a read
	// can go to the database instead and an invalidation cannot: what is not confirmed in time is pending, and other
	// processes may read the old row until it is sent again. While the store is known to be away nobody waits. 0: 500ms.
	WriteTimeout time.Duration
	// LoadTimeout ends a load from the database that others may be waiting for, the wait for one of MaxLoads included. A
	// lease lives a little longer. 0: 10s.
	LoadTimeout time.Duration
	// Wait is how long a read waits for another process that is loading the same row before it reads the database itself,
	// without storing what it reads. 0: 100ms; < 0: not at all.
	Wait time.Duration
	// MaxEntry is the largest entry in bytes; larger ones are returned but not stored. 0: 256 KiB.
	MaxEntry int
	// MaxPending is how many invalidations are kept while the store is away. When there are more, this process stays away
	// from the store until it is back and all entries have been retired (see Retire), or, where a store cannot list its
	// keys, for the longest TTL. 0: 100,000.
	MaxPending int
	// Secret keys the hashes that stand in cache keys for the values of sensitive columns, see model.Spec. All processes of a
	// namespace need the same, 16 bytes or more. It is needed only if a key or unique index has such a column.
	Secret []byte
	// Probe is how often each server that is read from is asked to take a write, if it has taken none meanwhile: one that
	// refuses writes may serve for good what nobody can invalidate. A process that only reads finds that out within Probe
	// and WriteTimeout. 0: 1s; < 0: never.
	Probe time.Duration
	// Incarnation is how often the database is asked which it is, beside and outside all transactions: one that was failed over
	// to a standby, or restored, may have lost commits, and rows that it never had would be served until their TTL. What was
	// cached before is not used once it is another one. All processes of a namespace need the same choice. 0: 1s; < 0: never,
	// as with Unchecked.
	Incarnation time.Duration
	// AsyncCommit says that some transactions switch synchronous_commit off by themselves, so that a crash of PostgreSQL may
	// lose commits: what was cached before one is not used. Where it is off for the server, a database or a role, that is seen
	// without being said.
	AsyncCommit bool
	// Unchecked leaves the catalog of the database unread: for databases that are none, such as a mock. "Not found" is then
	// cached under integers and booleans alone, see docs/check.md.
	Unchecked bool
	// Allow has findings that New and Check only warn of, as "code:table", see docs/check.md.
	Allow []string
	// Mode is Serve, or InvalidateOnly for a process that must not read from the store yet, or for now; see SetOff.
	Mode Mode
	// Generation is part of every key if it is not 0: generations see nothing of each other's entries. Raise it with the
	// deploy that ends a period in which somebody wrote without invalidating: a version without this library, or the database
	// restored. All processes need the same one. Cache.Retire drops the entries of today without a deploy.
	Generation int
	// Registry registers this process, and the indexes that it invalidates, in the database, in tables that migrations.Apply
	// makes, and serves an index only while all who are registered under this namespace invalidate it: then an index can be
	// added, dropped or changed by an ordinary rolling deploy. All processes that write must have it on. With it New sends
	// statements, and waits for up to two heartbeats of the others if they serve an index that this process lacks. It also
	// makes New fail if another database uses this namespace in this store. See docs/rollout.md.
	Registry bool
	// Heartbeat is how often a registered process says that it is alive and reads who else is. It serves unique indexes for
	// two heartbeats without an answer, and is taken for dead after five. At most 1m; 0: 2s.
	Heartbeat time.Duration
	// Build orders versions of the program whose records differ: the newer takes over the entries of the older, not the other
	// way round. A number that grows with each build, such as its time in Unix seconds. 0: the time of the commit, as the Go
	// tool notes it in the binary; if it did not, versions take over each other's entries.
	Build uint32
	// Strict is for tables with model.Spec.Strict.
	Strict StrictConfig
	// Audit compares a sample of the entries with the database. Zero: none.
	Audit Audit
	// Replicas has loads answered by replicas of the database. The zero value: none are, and nothing is sent because of them.
	Replicas ReplicaConfig
	// Logger is told of the first of each kind of trouble. Keys and values appear at Debug only. nil: slog.Default().
	Logger *slog.Logger
}

// Cache keeps tables of one database in a store. It is safe for concurrent use.
type Cache struct {
	*runtime
	opts Options
}

// runtime is what all caches derived from one New share.
type runtime struct {
	db       *txhooks.DB
	store    store.Store
	cfg      Config
	tables   map[*model.Relation]*table
	accesses map[*model.Access]*access

	era    era
	onMove atomic.Pointer[func(ctx context.Context) error]

	stats    counters
	nodes    *nodes
	auditor  *auditor  // nil: Config.Audit is off
	registry *registry // nil: Config.Registry is off
	strict   *strict   // nil: no table is
	marks    *marks    // nil: nobody reads replicas
	replicas *replicas // nil: this process does not
	lookups  *rounds
	acquires *rounds
	flights  *flights
	vain     vain

	catalog     catalogReader
	longestTTL  atomic.Int64  // of all Options
	closeWithin time.Duration // closeTimeout, but for tests
}

// table is what the runtime knows of one table.
type table struct {
	rel      *model.Relation
	codec    *codec
	accesses []*access // those that name one row
	fills    onceMore  // how many fills have been compared with what they came from

	guarded atomic.Uint64 // reads that found an intent

	known atomic.Bool // the database's catalog has been read
	older older       // how many entries of a newer version have been found
}

// access is a key or a unique index, under which rows are cached.
type access struct {
	*model.Access
	table  *table
	era    *era
	prefix string
	hashed []bool // which values of a key are replaced by a keyed hash; nil: none
	secret []byte // of these hashes

	// unserved says why reads go to the database and fill nothing while writes go on invalidating; 0: they ask the store.
	unserved atomic.Uint32

	absence atomic.Pointer[catalog.Absence] // for which values "not found" is stored; nil: the catalog is not known
	// declares is the access's name in the registry, registered the epoch that follows from it, lacked what was said last.
	declares   string
	registered atomic.Uint64
	lacked     string
}

// Reasons not to serve an access, as bits.
const (
	unservedCatalog     = 1 << iota // the database's catalog says that it must not be cached
	unservedRegistry                // another process does not invalidate it
	unservedOff                     // it was switched off
	unservedIncarnation             // the database has not said yet which it is
)

// New subscribes to db's transactions. It fails, with table, column and reason, if a table's records would not survive
// encoding, if the database's catalog says that cached rows would be wrong (see Config.Allow and Check), and if s says that
// it cannot be used; it does not fail because the database or s cannot be reached.
func New(db *txhooks.DB, s store.Store, cfg Config) (*Cache, error) {
	if db == nil || s == nil {
		return nil, errors.New("aside: New needs a database and a store")
	}
	if err := checkNamespace(cfg.Namespace); err != nil {
		return nil, err
	}
	if len(cfg.Tables) == 0 {
		return nil, errors.New("aside: Config.Tables is empty")
	}
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if cfg.Namespace, err = generationOf(cfg.Namespace, cfg.Generation); err != nil {
		return nil, err
	}
	rt := &runtime{
		db: db, store: s, cfg: cfg, closeWithin: closeTimeout,
		tables:   make(map[*model.Relation]*table),
		accesses: make(map[*model.Access]*access),
		lookups:  newRounds(), acquires: newRounds(),
		flights: newFlights(cfg.MaxLoads, cfg.LoadTimeout),
	}
	rt.era.store, _ = s.(store.Epocher)
	for i, t := range cfg.Tables {
		if t == nil || reflect.ValueOf(t).IsNil() {
			return nil, fmt.Errorf("aside: Config.Tables[%d] is nil", i)
		}
		if err := rt.add(t.Relation()); err != nil {
			return nil, err
		}
	}
	rt.nodes = newNodes(rt)
	rt.strict = newStrict(rt)
	rt.marks = newMarks(rt)
	if rt.replicas, err = newReplicas(rt); err != nil {
		return nil, err
	}
	if err := rt.checkStore(); err != nil {
		return nil, err
	}
	if err := rt.checkEviction(); err != nil {
		return nil, err
	}
	if err := rt.checkCatalog(); err != nil {
		return nil, err
	}
	if rt.auditor, err = newAuditor(rt, cfg.Audit); err != nil {
		return nil, err
	}
	rt.startIncarnation()
	rt.longestTTL.Store(int64(max(cfg.TTL, defaultNegative)))
	c := &Cache{runtime: rt, opts: Options{TTL: cfg.TTL, Negative: defaultNegative}}
	if cfg.Mode == InvalidateOnly {
		if err := c.SetOff(true); err != nil {
			return nil, err
		}
	}
	unsubscribe := db.Subscribe(rt.subscriber())
	if cfg.Registry {
		if err := rt.register(); err != nil {
			unsubscribe()
			rt.nodes.stop()
			return nil, err
		}
	}
	rt.auditor.start()
	rt.replicas.start()
	return c, nil
}

const (
	defaultNegative = time.Minute
	forever         = 10 * 365 * 24 * time.Hour // for durations that are added up
)

func (cfg Config) withDefaults() (Config, error) {
	for _, d := range []struct {
		name  string
		value *time.Duration
		zero  time.Duration
	}{
		{"TTL", &cfg.TTL, 10 * time.Minute},
		{"Timeout", &cfg.Timeout, 50 * time.Millisecond},
		{"WriteTimeout", &cfg.WriteTimeout, 500 * time.Millisecond},
		{"LoadTimeout", &cfg.LoadTimeout, 10 * time.Second},
		{"Heartbeat", &cfg.Heartbeat, 2 * time.Second},
	} {
		if *d.value < 0 {
			return cfg, fmt.Errorf("aside: Config.%s is negative", d.name)
		}
		if *d.value == 0 {
			*d.value = d.zero
		}
		*d.value = min(*d.value, forever)
	}
	if cfg.Probe == 0 {
		cfg.Probe = defaultProbe
	}
	if cfg.Incarnation == 0 {
		cfg.Incarnation = defaultIncarnation
	}
	if cfg.Wait == 0 {
		cfg.Wait = 100 * time.Millisecond
	}
	for _, n := range []struct {
		name  string
		value *int
		zero  int
	}{
		{"MaxLoads", &cfg.MaxLoads, 64},
		{"MaxEntry", &cfg.MaxEntry, 256 << 10},
		{"MaxPending", &cfg.MaxPending, 100_000},
	} {
		if *n.value < 0 {
			return cfg, fmt.Errorf("aside: Config.%s is negative", n.name)
		}
		if *n.value == 0 {
			*n.value = n.zero
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := finding.Allow(cfg.Allow).Check(); err != nil {
		return cfg, fmt.Errorf("aside: Config.Allow: %w", err)
	}
	if cfg.Heartbeat > time.Minute {
		return cfg, fmt.Errorf("aside: Config.Heartbeat is %s: at most 1m", cfg.Heartbeat)
	}
	if err := cfg.Replicas.check(); err != nil {
		return cfg, err
	}
	if cfg.Mode > InvalidateOnly {
		return cfg, fmt.Errorf("aside: Config.Mode is %d", cfg.Mode)
	}
	if cfg.Build == 0 {
		cfg.Build = stampedBuild()
	}
	var err error
	cfg.Strict, err = cfg.Strict.withDefaults()
	return cfg, err
}

func (rt *runtime) add(rel *model.Relation) error {
	for known := range rt.tables {
		if known.Name == rel.Name && known != rel {
			return fmt.Errorf("aside: table %s is in Config.Tables twice, declared differently", rel.Name)
		}
	}
	for i := range rel.Columns {
		if rel.Columns[i].NoCache {
			return fmt.Errorf("aside: table %s: column %s is marked nocache: keep it in a record of its own, or the table out of Config.Tables",
				rel.Name, rel.Columns[i].Name)
		}
	}
	c, err := newCodec(rel)
	if err != nil {
		return err
	}
	t := &table{rel: rel, codec: c}
	for _, a := range rel.Accesses() {
		if a.Unique {
			acc := &access{Access: a, table: t, era: &rt.era, prefix: keyPrefix(rt.cfg.Namespace, a), hashed: sensitive(rel, a)}
			if acc.hashed != nil && len(rt.cfg.Secret) < minSecret {
				return fmt.Errorf("aside: table %s, index %s: a column is sensitive, so Config.Secret needs %d bytes or more, the same in all processes",
					rel.Name, a.Name, minSecret)
			}
			acc.secret = rt.cfg.Secret
			t.accesses = append(t.accesses, acc)
			rt.accesses[a] = acc
		}
	}
	rt.tables[rel] = t
	return nil
}

// checkStore asks a store that has something to say about its settings.
func (rt *runtime) checkStore() error {
	s, ok := rt.store.(interface {
		Check(ctx context.Context) error
		Warnings() []string
	})
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*rt.cfg.Timeout)
	defer cancel()
	if err := s.Check(ctx); err != nil {
		return fmt.Errorf("aside: %w", err)
	}
	for _, w := range s.Warnings() {
		rt.cfg.Logger.Warn("aside: the store is not set up for this use", "setting", w)
	}
	return nil
}

// access returns what is known of an index, or an error that says which table is missing.
func (rt *runtime) access(at model.Place) (*access, error) {
	if a := rt.accesses[at.Access]; a != nil {
		return a, nil
	}
	if err := at.Check(); err != nil {
		return nil, err
	}
	return nil, fmt.Errorf("aside: table %s is not in cachedrepo.Config.Tables", at.Relation.Name)
}

// closeTimeout bounds a Close whose context has no deadline.
const closeTimeout = 5 * time.Second

// Close waits for loads and invalidations under way and sends the pending ones, the repeats after a COMMIT in doubt
// included, until ctx ends, or for 5 s if ctx has no deadline: a deferred Close must not hold up an exit for ever because
// the store is away. Its error counts those given up: other processes may read these rows as they were for up to a TTL.
// Call it after the last write. Later reads go to the database; later writes still invalidate, but what fails then is
// given up.
func (c *Cache) Close(ctx context.Context) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.closeWithin)
		defer cancel()
	}
	c.flights.wait(ctx)
	c.replicas.close()
	n := c.nodes.close(ctx)
	c.registry.close(ctx)
	if n > 0 {
		return fmt.Errorf("aside: the store could not be reached: %d invalidations were given up", n)
	}
	return nil
}

package cachedrepo

import (
	"context"
	"sync/atomic"
	"time"
)

// Stats counts what a Cache and all derived from it have done since New.
type Stats struct {
	Hits   uint64 // rows served from the store, "not found" included
	Misses uint64 // rows loaded under a lease of this process
	Shared uint64 // rows served by another caller's load
	Loads  uint64 // calls of the plain repository, a batch counting as one

	Fills     uint64 // entries stored
	Refused   uint64 // fills that came after an invalidation or after the end of the lease
	Expired   uint64 // of these: after the end of the lease, as the process stood still, or its loader does not heed its context
	TooLarge  uint64 // rows over Config.MaxEntry, returned and not stored
	Inexact   uint64 // rows that did not survive encoding, returned and not stored
	Elsewhere uint64 // rows whose own key was not the one asked for, returned and not stored

	Damaged     uint64 // values that were no entries or failed their checksum
	Fingerprint uint64 // values of another version of the record
	Epoch       uint64 // values from before a failover, or before a process that did not invalidate them has gone
	Older       uint64 // reads that left the value to a newer version of the program and stored nothing, see Config.Build

	InTransaction uint64 // reads inside a transaction
	Bypassed      uint64 // reads with Bypass or Options.Off, or while SetOff has switched them off
	Maintained    uint64 // reads of an index that another process does not invalidate, see Config.Registry
	Unheard       uint64 // reads of an index while the registry could not be read
	Leased        uint64 // reads that found another process loading, and did not see it finish
	Guarded       uint64 // reads that found a writer's intent, see GuardedReads
	Distrusted    uint64 // reads while the store was away or invalidations were pending

	CatalogErrors  uint64 // times the database's catalog could not be read; tried again, see Config.Unchecked
	CatalogRefused uint64 // keys and indexes that turned out after New to be unfit for caching: reads go to the database

	StoreErrors  uint64 // calls of the store that failed
	StoreRefused uint64 // of these: the server answered and refused
	LoadErrors   uint64 // loads that failed, "not found" not included
	Overloads    uint64 // of these: no load of MaxLoads ended in time
	Starved      uint64 // of these: the load's time was over, and the pool had no connection left: see docs/transactions.md

	Invalidated uint64 // keys invalidated
	Replayed    uint64 // of these and of Released: after the store had been away
	Pending     uint64 // keys whose invalidation or release waits for the store now
	GivenUp     uint64 // invalidations given up by Close or over Config.MaxPending
	InDoubt     uint64 // transactions whose outcome is not known
	Unspooled   uint64 // large transactions of this *sql.DB whose changes were kept in memory for want of a temporary file
	Unread      uint64 // transactions of which not all changed rows are known: their temporary file could not be read
	Unknown     uint64 // changes of tables that are not in Config.Tables

	ReplicaLoads  uint64 // loads answered by a replica of the database
	Marked        uint64 // loads that went to the primary because a key was written to lately
	Lagging       uint64 // leases taken while no replica was near enough
	ReplicaErrors uint64 // failures of replicas: loads that the next one answered then, questions how far they are

	Opened uint64 // times this process stopped asking the store

	Intended      uint64 // intents placed by writes to strict tables, one a key
	Released      uint64 // intents taken back
	Renewed       uint64 // times that all intents of a transaction were renewed, as its COMMIT took long
	Lost          uint64 // intents that had gone before they were released: reads may have gone back in time, see docs/strict.md
	StrictRefused uint64 // writes that were rolled back because they could not place their intents
	Unguarded     uint64 // writes that went on without all intents, by Config.Strict.OnAway
	// GuardedReads are the reads that found a writer's intent, by table; nil: none. A table whose rows are always about to
	// change is read from the database.
	GuardedReads map[string]uint64

	Audited      [3]uint64 // entries compared with the database 1, 10 and 60 s after they were sampled, see Config.Audit
	Inconsistent [3]uint64 // of these: wrong
	Repaired     uint64    // of these: invalidated
	AuditSkipped uint64    // samples that Audit.Rate did not let in
	AuditErrors  uint64    // comparisons that failed: the store or the database could not be asked

	Moved             uint64        // times a server of the store, or the database, was found to have gone back in time
	IncarnationErrors uint64        // times the database did not say which it is, see Config.Incarnation
	Unacknowledged    uint64        // intents, releases and invalidations that fewer replicas have than redisstore.Config.Acks
	ClockSkew         time.Duration // how far the clocks of the store's servers and of this machine are apart at least

	Registered     uint64 // times this process registered: more than one says that others took it for dead
	RegistryErrors uint64 // heartbeats that failed
	Unregistered   uint64 // writes that returned although this process could not register before
}

type counters struct {
	hits, misses, shared, loads                           atomic.Uint64
	fills, refused, expired, tooLarge, inexact, elsewhere atomic.Uint64
	damaged, fingerprint, epoch, older                    atomic.Uint64
	inTransaction, bypassed, leased, distrusted           atomic.Uint64
	storeErrors, storeRefused, loadErrors, starved        atomic.Uint64
	catalogErrors, catalogRefused                         atomic.Uint64
	invalidated, replayed, givenUp                        atomic.Uint64
	inDoubt, unread, unknown, opened                      atomic.Uint64
	replicaLoads, marked, lagging, replicaErrors          atomic.Uint64
	maintained, unheard                                   atomic.Uint64
	intended, released, renewed, lost                     atomic.Uint64
	strictRefused, unguarded                              atomic.Uint64
	registered, registryErrors, unregistered              atomic.Uint64
	moved, incarnationErrors                              atomic.Uint64
}

// Stats returns the counts. They are read one by one: a sum may be off by what happens meanwhile.
func (c *Cache) Stats() Stats {
	n := &c.stats
	guarded, by := c.guardedReads()
	s := Stats{
		Hits:          n.hits.Load(),
		Misses:        n.misses.Load(),
		Shared:        n.shared.Load(),
		Loads:         n.loads.Load(),
		Fills:         n.fills.Load(),
		Refused:       n.refused.Load(),
		Expired:       n.expired.Load(),
		TooLarge:      n.tooLarge.Load(),
		Inexact:       n.inexact.Load(),
		Elsewhere:     n.elsewhere.Load(),
		Damaged:       n.damaged.Load(),
		Fingerprint:   n.fingerprint.Load(),
		Epoch:         n.epoch.Load(),
		Older:         n.older.Load(),
		InTransaction: n.inTransaction.Load(),
		Bypassed:      n.bypassed.Load(),
		Leased:        n.leased.Load(),
		Guarded:       guarded,
		Distrusted:    n.distrusted.Load(),
		CatalogErrors: n.catalogErrors.Load(), CatalogRefused: n.catalogRefused.Load(),
		StoreErrors:  n.storeErrors.Load(),
		StoreRefused: n.storeRefused.Load(),
		LoadErrors:   n.loadErrors.Load() + c.flights.overloads.Load(),
		Overloads:    c.flights.overloads.Load(),
		Starved:      n.starved.Load(),
		Invalidated:  n.invalidated.Load(),
		Replayed:     n.replayed.Load(),
		Pending:      uint64(c.nodes.waiting()),
		GivenUp:      n.givenUp.Load(),
		InDoubt:      n.inDoubt.Load(),
		Unspooled:    uint64(c.db.SpoolFailures()),
		Unread:       n.unread.Load(),
		Unknown:      n.unknown.Load(),
		Opened:       n.opened.Load(),

		Intended:      n.intended.Load(),
		Released:      n.released.Load(),
		Renewed:       n.renewed.Load(),
		Lost:          n.lost.Load(),
		StrictRefused: n.strictRefused.Load(),
		Unguarded:     n.unguarded.Load(),
		GuardedReads:  by,
		ReplicaLoads:  n.replicaLoads.Load(),
		Marked:        n.marked.Load(),
		Lagging:       n.lagging.Load(),
		ReplicaErrors: n.replicaErrors.Load(),

		Maintained:        n.maintained.Load(),
		Unheard:           n.unheard.Load(),
		Moved:             n.moved.Load(),
		IncarnationErrors: n.incarnationErrors.Load(),
		Unacknowledged:    c.unacknowledged(),
		ClockSkew:         c.skew(),

		Registered:     n.registered.Load(),
		RegistryErrors: n.registryErrors.Load(),
		Unregistered:   n.unregistered.Load(),
	}
	c.auditor.figures(&s)
	return s
}

func (rt *runtime) guardedReads() (all uint64, by map[string]uint64) {
	for rel, t := range rt.tables {
		n := t.guarded.Load()
		if n == 0 {
			continue
		}
		if by == nil {
			by = make(map[string]uint64)
		}
		by[rel.Name] = n
		all += n
	}
	return all, by
}

// skew asks a store that knows.
func (rt *runtime) skew() time.Duration {
	if s, ok := rt.store.(interface{ Skew() time.Duration }); ok {
		return s.Skew()
	}
	return 0
}

func (rt *runtime) unacknowledged() uint64 {
	if s, ok := rt.store.(interface{ Unacknowledged() uint64 }); ok {
		return s.Unacknowledged()
	}
	return 0
}

// Observer has one optional func per kind of event. They are called by the goroutine that reads or writes and must not
// block.
type Observer struct {
	// Read tells of a read that asked the store: the table's or the view's name, whether the answer came from the store, and
	// how long it took.
	Read func(ctx context.Context, name string, hit bool, took time.Duration)
	// Error tells of trouble that no caller hears of: op is get, acquire, fill, invalidate, probe, retire, enumerate, encode,
	// decode, catalog, registry, identity, intend, renew, release, strict, audit, epoch, incarnation, replay, mark
	// or replica.
	Error func(ctx context.Context, op string, err error)
}

// trouble reports what is swallowed. The first of each kind is logged, for the log of a process whose store is away must
// not grow with its traffic.
func (rt *runtime) trouble(ctx context.Context, op string, err error) {
	if o := rt.cfg.Observer; o != nil && o.Error != nil {
		o.Error(ctx, op, err)
	}
	if rt.nodes.first(op) {
		rt.cfg.Logger.WarnContext(ctx, "aside: trouble with the store; reads go to the database where they must", "op", op, "err", err)
	}
}

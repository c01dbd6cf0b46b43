package cachedrepo

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/model"
)

// batch is a FindMany: one look at all keys, leases for those that are missing, one query, one fill. Each key goes
// through the protocol by itself; a batch is no snapshot.
type batch[T any] struct {
	c     *Cache
	name  string
	acc   *access
	query func(ctx context.Context, at []int) ([]T, error) // of the plain repository, by places in the call's list
	items []*item[T]                                       // distinct keys
	load  *flight                                          // of the one query; the leases' flights bring what it finds
	left  time.Duration                                    // what was left of the time for the store
}

// share is what a batch asks of one server.
type share[T any] struct {
	*batch[T]
	at    *node
	until time.Time // the end of the time that one look may spend on the store
	away  bool      // the server did not answer
}

// item is one key of a batch.
type item[T any] struct {
	read
	index  int // where the call's list has it first
	rec    T
	found  bool // rec is the answer
	absent bool // the answer is that there is no row
	given  bool // rec has been given to the caller

	seen  []byte  // a value that may not be used
	lease *flight // granted to this batch
	held  store.Token
	epoch uint64
	alone bool // must be asked of the database by itself

	unmarked bool // a replica may be read under the lease
}

func (i *item[T]) answered() bool { return i.found || i.absent }

// fromStore looks at all keys in one round trip to each server, then asks for the leases of the missing ones in another.
func (b *batch[T]) fromStore(ctx context.Context) int {
	b.left = b.c.cfg.Timeout
	var hits atomic.Int64
	var mu sync.Mutex
	together(split(b.c.nodes, b.items, func(it *item[T]) string { return it.key }), func(g group[*item[T]]) {
		s := share[T]{batch: b, at: g.at}
		hits.Add(int64(s.fromStore(ctx, g.of)))
		if s.until.IsZero() {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		b.left = min(b.left, time.Until(s.until))
	})
	return int(hits.Load())
}

func (b *share[T]) fromStore(ctx context.Context, items []*item[T]) (hits int) {
	c := b.c
	for part := range slices.Chunk(items, chunk) {
		now := time.Now()
		if b.away {
			break // the read has waited for this server once
		}
		if c.registry.unheard(b.acc, now) {
			break
		}
		if c.nodes.unsure.Load() {
			part = slices.Clone(part)
			asked := len(part)
			part = slices.DeleteFunc(part, func(it *item[T]) bool { return !c.nodes.trusts(it.key) })
			c.stats.distrusted.Add(uint64(asked - len(part)))
			if len(part) == 0 {
				continue
			}
		}
		b.until = now.Add(c.cfg.Timeout)
		var missing []*item[T]
		for i, reply := range b.ask(ctx, "get", part, store.Get) {
			it := part[i]
			switch protocol.Looked(reply.State, b.open(ctx, it, reply)) {
			case protocol.Return:
				hits++
			case protocol.TakeOver:
				it.seen = reply.Value
				missing = append(missing, it)
			case protocol.Acquire:
				missing = append(missing, it)
			case protocol.Share:
				it.held = reply.Token
			default:
				if reply.State != store.Value {
					b.acc.table.guarded.Add(1)
				}
			}
		}
		b.acquire(ctx, missing)
	}
	return hits
}

// ask sends one operation for each item; no replies if the store failed.
func (b *share[T]) ask(ctx context.Context, name string, items []*item[T], kind store.OpKind) []store.Reply {
	ops, replies := make([]store.Op, len(items)), make([]store.Reply, len(items))
	for i, it := range items {
		ops[i] = store.Op{Kind: kind, Key: it.key}
		if it.lease != nil {
			ops[i].Token, ops[i].TTL = it.lease.token, b.c.leaseTime()
			if it.seen != nil {
				ops[i].Kind, ops[i].Value = store.AcquireOver, it.seen
			}
		}
	}
	call, cancel := context.WithDeadline(ctx, b.until)
	defer cancel()
	var err error
	if kind == store.Acquire {
		var unmarked []bool
		unmarked, err = b.c.acquire(call, ctx, b.at, ops, replies)
		for i := range unmarked {
			items[i].unmarked = unmarked[i]
		}
	} else {
		err = b.c.nodes.do(call, ctx, b.at, name, ops, replies)
	}
	if err != nil {
		b.away = !errors.Is(err, store.ErrFull) // a full store still has what it has
		return nil
	}
	return replies
}

func (b *share[T]) open(ctx context.Context, it *item[T], reply store.Reply) protocol.Verdict {
	v, err := it.read.open(ctx, reply, &it.rec)
	usable := v == protocol.Usable
	it.found, it.absent = usable && err == nil, usable && err != nil
	return v
}

func (b *share[T]) acquire(ctx context.Context, missing []*item[T]) {
	if len(missing) == 0 {
		return
	}
	for _, it := range missing {
		it.epoch, it.lease = b.acc.epoch(it.key), b.c.flights.leased(ctx, b.load)
	}
	replies := b.ask(ctx, "acquire", missing, store.Acquire)
	if replies == nil {
		leases := make([]settlement, len(missing))
		for i, it := range missing {
			leases[i] = settlement{key: it.key, token: it.lease.token}
		}
		b.c.abandon(ctx, leases)
	}
	var foreign []*item[T]
	for i, it := range missing {
		move := protocol.Database
		if replies != nil {
			move = protocol.Acquired(replies[i], it.lease.token, b.open(ctx, it, replies[i]))
		}
		if move == protocol.Load {
			b.c.stats.misses.Add(1)
			continue
		}
		b.c.flights.notGranted(it.lease)
		it.lease = nil
		switch move {
		case protocol.TakeOver:
			if it.seen == nil {
				it.seen = append([]byte{}, replies[i].Value...) // MGET does not show what is no string
				foreign = append(foreign, it)
			}
		case protocol.Share:
			it.held = replies[i].Token
		default:
			if replies != nil && replies[i].State == store.Intent { // a writer came in between
				b.acc.table.guarded.Add(1)
			}
		}
	}
	b.acquire(ctx, foreign)
}

// giveUp ends the flights of a batch that will not load.
func (b *batch[T]) giveUp() {
	for _, it := range b.items {
		if it.lease != nil {
			b.c.flights.notGranted(it.lease)
		}
	}
	b.load.cancel()
}

// rest loads what the store did not answer: keys that another reader of this process is loading with that reader's
// flight, all others with one query. Another process is not waited for: the batch has a query to make anyway.
func (b *batch[T]) rest(ctx context.Context) error {
	var ask, joining []*item[T]
	var joined []*flight
	for _, it := range b.items {
		if it.answered() {
			continue
		}
		if it.lease == nil && it.held != (store.Token{}) {
			f := b.c.flights.join(it.held)
			if protocol.Held(f != nil, false) == protocol.Share {
				b.c.stats.shared.Add(1)
				joined, joining = append(joined, f), append(joining, it)
				continue
			}
			b.c.stats.leased.Add(1)
		}
		ask = append(ask, it)
	}
	err := b.loadRest(ctx, ask)
	for i, f := range joined {
		it := joining[i]
		done, ferr := it.finish(ctx, f, &it.rec, false)
		if err != nil {
			continue // but leave every flight
		}
		if !done {
			_, ferr = it.into(ctx, &it.rec)
		}
		err = it.settle(ferr)
	}
	return err
}

// settle turns the answer of a single read into the item's.
func (i *item[T]) settle(err error) error {
	if err != nil && (errors.Is(err, model.ErrNotFound) || i.c.opts.absenceOf(err) != present) {
		i.absent = true
		return nil
	}
	i.found = err == nil
	return err
}

package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faultpoint"
)

// fetch loads the row for all who wait.
func (r *read) fetch(ctx context.Context, unmarked bool) *result {
	rec, err := r.loadOnce(ctx, unmarked)
	return &result{rec: rec, err: err, absence: r.c.opts.absenceOf(err)}
}

func (r *read) loadOnce(ctx context.Context, unmarked bool) (any, error) {
	r.c.stats.loads.Add(1)
	rec, err := anywhere(ctx, r.c.runtime, unmarked, r.load, func(err error) bool {
		return absent(err) || r.c.opts.absenceOf(err) != present
	}, r.key)
	if err != nil {
		if !absent(err) && r.c.opts.absenceOf(err) == present {
			r.c.loadFailed(ctx)
		}
		return nil, err
	}
	r.acc.table.rel.Normalize(rec)
	return rec, nil
}

// loadFailed counts. A load whose time was over while every connection was taken has most likely never had one:
//
//	T1 .. Tn: BEGIN, on all n connections
//	T1 .. Tn: Find on the context outside, each waiting for a load
//	loads:    wait for a connection
//
// Nobody of these moves before the loads are given up.
func (rt *runtime) loadFailed(ctx context.Context) {
	rt.stats.loadErrors.Add(1)
	if ctx.Err() != nil && rt.db.Exhausted() {
		rt.stats.starved.Add(1)
	}
}

// entry encodes what was loaded, for the callers who share it and for the store. It returns nil if it must not be stored.
func (r *read) entry(ctx context.Context, res *result, epoch uint64) []byte {
	t := r.acc.table
	e := envelope{epoch: epoch, fingerprint: t.codec.fingerprint, build: r.c.cfg.Build}
	if res.err != nil {
		a := r.c.opts.absenceOf(res.err)
		if a == present || r.c.opts.Negative < 0 || !r.c.allowed(ctx, r.acc) || !r.acc.holdsAbsence(r.data) {
			return nil
		}
		e.flags = a.flags()
		return e.seal(r.key)
	}
	var err error
	if res.payload, err = t.codec.encode(res.rec); err == nil && t.fills.due() && !t.codec.roundTrips(t.rel, res.rec, res.payload) {
		err = errors.New("the record does not survive encoding")
	}
	if err != nil {
		res.payload = nil
		r.c.stats.inexact.Add(1)
		r.c.trouble(ctx, "encode "+t.rel.Name, fmt.Errorf("aside: table %s: %w: not cached", t.rel.Name, err))
		return nil
	}
	own, err := r.acc.valueOf(nil, res.rec)
	if err != nil || !slices.Equal(own, r.data) {
		// SQL found the row by an equality that is wider than that of bytes, or the loader asked for something else. Writers
		// name the row by the row's own value: under the key that was asked for, no invalidation would ever find it.
		r.c.stats.elsewhere.Add(1)
		r.c.trouble(ctx, "key "+r.name, fmt.Errorf("%s: asked for %s.%s, got a row with another value: not cached; put the conversion into the lookup",
			r.name, t.rel.Name, r.acc.Name))
		if r.acc.hashed == nil {
			r.c.cfg.Logger.DebugContext(ctx, "aside: the row has another key", "view", r.name, "asked", r.data, "got", own)
		}
		return nil
	}
	e.payload = res.payload
	b := e.seal(r.key)
	if len(b) > r.c.cfg.MaxEntry {
		r.c.stats.tooLarge.Add(1)
		return nil
	}
	if !r.c.allowed(ctx, r.acc) {
		return nil
	}
	return b
}

// life is how long the entry lives that a load with this error came to. It is a tenth longer or shorter for each, so that
// what was filled together does not expire together.
func (o Options) life(err error) time.Duration {
	d := o.TTL
	if err != nil {
		d = o.Negative
	}
	return d - d/10 + rand.N(d/5+1)
}

// settlement is what a lease comes to: an entry, or nothing.
type settlement struct {
	key   string
	token store.Token
	entry []byte // nil: abandon
	life  time.Duration
	since time.Time // when the lease was asked for
}

// abandon gives leases up that were asked for and not answered in time: the caller left, or the answer was lost or late. They
// may have been granted, and nobody would load under them until they end. A server that is known to be away is left alone.
func (c *Cache) abandon(ctx context.Context, leases []settlement) {
	leases = slices.DeleteFunc(leases, func(l settlement) bool { return !c.nodes.trusts(l.key) })
	if len(leases) == 0 {
		return
	}
	landed := c.flights.takesOff()
	go func() {
		defer landed()
		c.settle(context.WithoutCancel(ctx), leases)
	}()
}

// settle stores entries under their leases, and gives the leases up that nothing came of, in one round trip to each server.
func (c *Cache) settle(ctx context.Context, all []settlement) {
	if len(all) > 0 {
		together(split(c.nodes, all, func(s settlement) string { return s.key }), func(g group[settlement]) { c.settleAt(ctx, g.at, g.of) })
	}
}

func (c *Cache) settleAt(ctx context.Context, at *node, all []settlement) {
	ops := make([]store.Op, len(all))
	for i, s := range all {
		ops[i] = store.Op{Kind: store.Fill, Key: s.key, Token: s.token, Value: s.entry, TTL: s.life}
		if s.entry == nil {
			ops[i] = store.Op{Kind: store.Abandon, Key: s.key, Token: s.token}
		}
	}
	faultpoint.At(faultpoint.BeforeFill)
	for len(ops) > 0 {
		part := ops[:min(chunk, len(ops))]
		all := all[len(all)-len(ops):]
		ops = ops[len(part):]
		call, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
		replies := make([]store.Reply, len(part))
		err := c.nodes.do(call, ctx, at, "fill", part, replies)
		cancel()
		if err != nil {
			if at.distrust.Load() {
				return
			}
			continue // the leases end by themselves
		}
		for i, reply := range replies {
			switch {
			case part[i].Kind != store.Fill:
			case reply.Refused:
				c.stats.refused.Add(1)
				if time.Since(all[i].since) >= c.leaseTime() {
					c.stats.expired.Add(1)
				}
			default:
				c.stats.fills.Add(1)
			}
		}
	}
}

// unusable counts a value that may not be used.
func (rt *runtime) unusable(ctx context.Context, t *table, err error) {
	switch {
	case errors.Is(err, errFingerprint):
		rt.stats.fingerprint.Add(1)
		return // as it must be while two versions of a program run
	case errors.Is(err, errEpoch):
		rt.stats.epoch.Add(1)
		return
	}
	rt.stats.damaged.Add(1)
	rt.trouble(ctx, "decode "+t.rel.Name, fmt.Errorf("aside: table %s: an entry cannot be used: %w", t.rel.Name, err))
}

// onceMore says which fills are compared with what they came from: the first few, and a sample of the rest.
type onceMore struct{ n atomic.Uint64 }

func (o *onceMore) due() bool {
	n := o.n.Add(1)
	return n <= 16 || n%256 == 0
}

// vain remembers leases that were waited for in vain.
type vain struct {
	mu sync.Mutex
	m  map[store.Token]struct{}
}

func (v *vain) has(t store.Token) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	_, ok := v.m[t]
	return ok
}

func (v *vain) add(t store.Token) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.m == nil || len(v.m) >= 1024 {
		v.m = make(map[store.Token]struct{})
	}
	v.m[t] = struct{}{}
}

// longestLife is longer than any entry will live that is stored now, or under a lease that is held now.
func (rt *runtime) longestLife() time.Duration {
	return time.Duration(rt.longestTTL.Load())*11/10 + rt.leaseTime() + time.Second
}

func zero(dst any) { reflect.ValueOf(dst).Elem().SetZero() }

func assign(dst, rec any) { reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(rec).Elem()) }

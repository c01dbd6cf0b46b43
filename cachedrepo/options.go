package cachedrepo

import (
	"context"
	"reflect"
	"time"
)

// Options concern readers alone; zero fields keep what the Cache has.
type Options struct {
	TTL      time.Duration
	Negative time.Duration // TTL of "not found"; 0: 1m; < 0: not cached
	NotFound error         // what your repository returns for "not found", returned on a hit too
	Version  int           // raise it when a query's SQL changes its meaning
	Off      bool          // reads go to the database, writes still invalidate: the first step of a rollout
}

// With returns c with other options. Both share everything else, the entries too. It panics for a NotFound that cannot be
// compared with ==.
func (c *Cache) With(o Options) *Cache {
	d := c.opts
	if o.TTL > 0 {
		d.TTL = min(o.TTL, forever)
	}
	if o.Negative != 0 {
		d.Negative = min(o.Negative, forever)
	}
	for longest := max(d.TTL, d.Negative); ; {
		known := c.longestTTL.Load()
		if int64(longest) <= known || c.longestTTL.CompareAndSwap(known, int64(longest)) {
			break
		}
	}
	if o.NotFound != nil {
		if !reflect.TypeOf(o.NotFound).Comparable() {
			panic("aside: Options.NotFound cannot be compared with ==")
		}
		d.NotFound = o.NotFound
	}
	if o.Version != 0 {
		d.Version = o.Version
	}
	d.Off = d.Off || o.Off
	return &Cache{runtime: c.runtime, opts: d}
}

type bypassKey struct{}

// Bypass returns a context whose reads go to the database.
func Bypass(ctx context.Context) context.Context {
	return context.WithValue(ctx, bypassKey{}, true)
}

// direct tells whether a read must go to the database whatever the store holds. Inside a transaction the database alone
// knows the transaction's own writes, and what it shows there is nobody else's business: history 15.
func (c *Cache) direct(ctx context.Context, acc *access) bool {
	if why := acc.unserved.Load(); why&unservedRegistry != 0 {
		c.stats.maintained.Add(1)
		return true
	} else if why != 0 || c.opts.Off || ctx.Value(bypassKey{}) != nil {
		c.stats.bypassed.Add(1)
		return true
	}
	if c.db.In(ctx) {
		c.stats.inTransaction.Add(1)
		return true
	}
	return false
}

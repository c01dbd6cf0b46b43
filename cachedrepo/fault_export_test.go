package cachedrepo

import (
	"context"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// RepeatBy has c wait for its repeated invalidations on the channels that after returns. Call it before the first of them.
func RepeatBy(c *Cache, after func(time.Duration) <-chan time.Time) { c.nodes.after = after }

// DistrustedUntil is the moment before which c does not trust its store, because more was pending than it could keep.
func DistrustedUntil(c *Cache) time.Time {
	c.nodes.mu.Lock()
	defer c.nodes.mu.Unlock()
	return c.nodes.overflow
}

// EndDistrust makes that moment now.
func EndDistrust(c *Cache) {
	c.nodes.mu.Lock()
	defer c.nodes.mu.Unlock()
	c.nodes.overflow = time.Now()
}

// LongestLife is how long an entry of c can live.
func LongestLife(c *Cache) time.Duration { return c.longestLife() }

// InDoubt has c believe that a transaction in doubt has changed the row rec.
func InDoubt[T any, K comparable](c *Cache, t *model.Table[T, K], rec T) {
	img, err := t.Relation().Image(&rec)
	if err != nil {
		panic(err)
	}
	c.Ended(context.Background(), txhooks.InDoubt, txhooks.ChangesOf(txhooks.Change{Relation: t.Relation(), Before: img, After: img}))
}

// CloseWithin bounds a Close whose context has no deadline.
func CloseWithin(c *Cache, d time.Duration) { c.closeWithin = d }

// Servers counts the servers that c remembers.
func Servers(c *Cache) int {
	c.nodes.mu.Lock()
	defer c.nodes.mu.Unlock()
	return len(c.nodes.byName)
}

// Unsure tells whether reads of c must look closer before they ask the store.
func Unsure(c *Cache) bool { return c.nodes.unsure.Load() }

// Lose has c believe that more was pending than it can keep.
func Lose(c *Cache) { c.nodes.distrustAll() }

package cachedrepo

import "time"

// RepeatBy has c wait for its repeated invalidations on the channels that after returns. Call it before the first of them.
func RepeatBy(c *Cache, after func(time.Duration) <-chan time.Time) { c.node.after = after }

// DistrustedUntil is the moment before which c does not trust its store, because more was pending than it could keep.
func DistrustedUntil(c *Cache) time.Time {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	return c.node.overflow
}

// EndDistrust makes that moment now.
func EndDistrust(c *Cache) {
	c.node.mu.Lock()
	defer c.node.mu.Unlock()
	c.node.overflow = time.Now()
}

// LongestLife is how long an entry of c can live.
func LongestLife(c *Cache) time.Duration { return c.longestLife() }

package cachedrepo

import "time"

// RepeatBy decides when the invalidations after a lost answer to COMMIT are repeated. Call it before c is used.
func RepeatBy(c *Cache, after func(d time.Duration) <-chan time.Time) { c.node.after = after }

// Waiting counts the callers that wait for a load under a lease.
func Waiting(c *Cache) (n int) {
	fs := c.flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	counted := make(map[*flight]bool)
	for _, f := range fs.byToken {
		if w := f.counted(); !counted[w] {
			counted[w] = true
			n += w.waiters
		}
	}
	return n
}

// Queued counts the callers that wait for a load that has not been sent, because another for the same key is out.
func Queued(c *Cache, key string) int {
	fs := c.flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.unsent[key]; f != nil {
		return f.waiters
	}
	return 0
}

// Remembered counts what the loads that have ended left behind.
func Remembered(c *Cache) int {
	fs := c.flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return len(fs.byToken) + len(fs.unsent) + len(fs.last)
}

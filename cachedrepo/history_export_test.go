package cachedrepo

import "hash/maphash"

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

// Followed tells whether a caller waits behind the look at key that is out.
func Followed(c *Cache, key string) bool {
	s := &c.lookups.shards[maphash.String(c.lookups.seed, key)%uint64(len(c.lookups.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.m[key]
	return out != nil && out.done != nil
}

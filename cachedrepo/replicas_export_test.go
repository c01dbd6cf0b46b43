package cachedrepo

import (
	"context"
	"time"
)

// Proven counts the replicas that a load under these keys may be answered by now.
func Proven(c *Cache, keys ...string) int { return len(c.replicas.choices(keys...)) }

// MarkKey is where the mark of a key is.
func MarkKey(c *Cache, key string) string { return c.marks.key(key) }

// MarkLife is how long a mark stands.
func MarkLife(c *Cache) time.Duration { return c.marks.life }

var EndOfRecord = endOfRecord

// Sweep removes marks as if it were later, and tells whether that was all.
func Sweep(c *Cache, later time.Duration) bool {
	return c.marks.broom.sweep(context.Background(), time.Now().Add(later))
}

// Settled tells whether a write of this process would not be held by the registry now.
func Settled(c *Cache) bool { return !c.registry.late() }

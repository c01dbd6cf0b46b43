package cachedrepo

import (
	"time"

	"github.com/asidego/aside/model"
)

// AuditAfter has an auditor compare after these times.
func AuditAfter(a *Audit, ages [3]time.Duration) { a.ages = ages }

// AuditQueue is how many samples the auditor of c keeps.
func AuditQueue(c *Cache) (n int) {
	c.auditor.mu.Lock()
	defer c.auditor.mu.Unlock()
	for _, q := range c.auditor.queues {
		n += len(q)
	}
	return n
}

// AuditAges are the ages at which the auditor of c compares.
func AuditAges(c *Cache) [3]time.Duration { return c.auditor.cfg.ages }

// ParseKey makes the key of a value of a table's index, and reads the value from it.
func ParseKey(rel *model.Relation, a *model.Access, data []model.Datum) (key string, back []model.Datum, ok bool) {
	acc := &access{Access: a, table: &table{rel: rel}, prefix: keyPrefix("ns", a)}
	key = acc.key(data)
	back, ok = acc.parse(key)
	return key, back, ok
}

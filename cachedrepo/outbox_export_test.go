package cachedrepo

// Forget has c take its store for one that has lost something.
func Forget(c *Cache) { c.losses.tell() }

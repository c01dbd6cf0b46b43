package cachedrepo

import (
	"fmt"
	"strconv"

	"github.com/asidego/aside/model"
)

// Mode is how a process begins to use its cache.
type Mode uint8

const (
	// Serve reads from the store and fills it.
	Serve Mode = iota
	// InvalidateOnly begins as if SetOff(true) had been called: no read asks the store, every write invalidates. It is how a
	// process runs while others still write without the library, and the setting for emergencies: a process without a cache
	// would leave what it writes stale in all others.
	InvalidateOnly
)

// SetOff switches reads of these tables, or of all, to the database and back, while the process runs. Writes invalidate
// all the time. It fails, and switches nothing, if a table is not in Config.Tables. Options.Off and Bypass stay what they
// are.
//
// Why entries are right when reads are switched on again: an entry is ended by the writes to its row, whoever makes them
// and whoever reads meanwhile, and switching off stops neither this process's invalidations nor those of others. A load
// that is under way when reads are switched off fills under its lease, which a write ends as ever. What a process does
// while it is off is therefore what it does while nobody happens to read. It holds for other processes too: that one does
// not read is nothing they could notice.
func (c *Cache) SetOff(off bool, tables ...interface{ Relation() *model.Relation }) error {
	var all []*table
	for _, t := range tables {
		known := c.tables[t.Relation()]
		if known == nil {
			return fmt.Errorf("aside: SetOff: table %s is not in cachedrepo.Config.Tables", t.Relation().Name)
		}
		all = append(all, known)
	}
	if len(tables) == 0 {
		for _, t := range c.tables {
			all = append(all, t)
		}
	}
	for _, t := range all {
		for _, a := range t.accesses {
			a.unserve(unservedOff, off)
		}
	}
	return nil
}

// unserve sets or clears one reason.
func (a *access) unserve(reason uint32, on bool) {
	if on {
		a.unserved.Or(reason)
	} else {
		a.unserved.And(^reason)
	}
}

// generationOf is the namespace that stands in keys: "shop~3" for generation 3, "shop" for 0. No namespace has a ~ in it,
// so that no two generations of any two namespaces share a key.
func generationOf(ns string, generation int) (string, error) {
	if generation < 0 {
		return "", fmt.Errorf("aside: Config.Generation is %d", generation)
	}
	if generation == 0 {
		return ns, nil
	}
	return ns + "~" + strconv.Itoa(generation), nil
}

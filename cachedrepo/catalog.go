package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

const (
	catalogTimeout = 2 * time.Second
	catalogPause   = time.Second // between attempts
)

// catalogReader lets one caller at a time read the catalog.
type catalogReader struct {
	mu   sync.Mutex
	next time.Time // no attempt before
}

// checkCatalog reads the catalog for New. A database that does not answer is no reason not to start: the catalog is read
// before the first fill then.
func (rt *runtime) checkCatalog() error {
	if rt.cfg.Unchecked {
		return nil
	}
	list, err := rt.readCatalog(context.Background())
	if err != nil {
		return nil //nolint:nilerr // counted and logged
	}
	if rt.cfg.Mode == InvalidateOnly { // nothing is read from the store; should that change, this is not
		rt.logRefusals(context.Background(), list)
		return nil
	}
	var lines []string
	for _, f := range refusals(list) {
		lines = append(lines, strings.TrimPrefix(f.String(), f.Severity.String()+" ")+"; "+f.Advice)
	}
	if lines == nil {
		return nil
	}
	return fmt.Errorf("aside: what is cached would be wrong (docs/check.md; Config.Allow takes code:table):\n\t%s", strings.Join(lines, "\n\t"))
}

// refusals are the findings because of which rows must not be cached.
func refusals(list finding.List) finding.List {
	var l finding.List
	for _, f := range list {
		if f.Severity == finding.Refuse && catalog.StopsCaching(f.Code) {
			l = append(l, f)
		}
	}
	l.Sort()
	return l
}

// readCatalog reads the catalog and has the accesses follow it.
func (rt *runtime) readCatalog(ctx context.Context) (finding.List, error) {
	names := make([]string, 0, len(rt.cfg.Tables))
	for _, t := range rt.cfg.Tables {
		names = append(names, t.Relation().Name)
	}
	call, cancel := context.WithTimeout(txhooks.OnPrimary(ctx), catalogTimeout)
	defer cancel()
	facts, err := catalog.Read(call, rt.db, names)
	if err != nil {
		rt.stats.catalogErrors.Add(1)
		rt.trouble(ctx, "catalog", fmt.Errorf("aside: the database's catalog could not be read: %w", err))
		return nil, err
	}
	list := catalog.JudgeServer(facts, rt.cfg.Allow)
	server := list.Refused()
	for _, t := range rt.cfg.Tables {
		rel := t.Relation()
		v := catalog.Judge(facts, rel, rt.cfg.Allow)
		list = append(list, v.Findings...)
		if !rt.cfg.Unchecked {
			rt.follow(rt.tables[rel], v, server)
		}
	}
	return list, nil
}

// follow has a table's accesses obey a verdict. What a check finds fit again is served again: its entries were
// invalidated all the time.
func (rt *runtime) follow(t *table, v catalog.Verdict, server bool) {
	missing := false
	for _, f := range v.Findings {
		missing = missing || f.Code == finding.MissingTable || f.Code == finding.MissingColumn
	}
	for _, acc := range t.accesses {
		rows := v.Rows[acc.Access]
		acc.absence.Store(&rows.Absence)
		refused := server || rows.Refused
		if refused && acc.unserved.Load()&unservedCatalog == 0 {
			rt.stats.catalogRefused.Add(1)
		}
		acc.unserve(unservedCatalog, refused)
	}
	t.known.Store(!missing) // a migration may be under way: then the next fill asks again
}

// allowed tells whether what was loaded by an access may be stored. If the catalog was not to be had before, it is asked
// for now, by one at a time and once a second at most. Who loads while another asks stores nothing: the answer may be that
// row security hides this very row from the next who reads it.
func (rt *runtime) allowed(ctx context.Context, acc *access) bool {
	if !acc.table.known.Load() && !rt.cfg.Unchecked && !rt.catchUp(ctx) {
		return false
	}
	return acc.unserved.Load()&unservedCatalog == 0
}

// catchUp returns false while another reads the catalog.
func (rt *runtime) catchUp(ctx context.Context) bool {
	r := &rt.catalog
	if !r.mu.TryLock() {
		return false
	}
	defer r.mu.Unlock()
	if time.Now().Before(r.next) {
		return true
	}
	list, err := rt.readCatalog(ctx)
	r.next = time.Now().Add(catalogPause)
	if err == nil {
		rt.logRefusals(ctx, list)
	}
	return true
}

func (rt *runtime) logRefusals(ctx context.Context, list finding.List) {
	for _, f := range refusals(list) {
		rt.cfg.Logger.ErrorContext(ctx, "aside: not cached: reads go to the database", "finding", f.String(), "advice", f.Advice)
	}
}

// holdsAbsence tells whether "not found" may be stored for a value.
func (a *access) holdsAbsence(value []model.Datum) bool {
	if absence := a.absence.Load(); absence != nil && a.table.known.Load() {
		return absence.Holds(value)
	}
	return catalog.Unknown(value)
}

// Check compares the tables with the database's catalog and looks at the store: what is found is in docs/check.md. It reads
// only, and can be called every few minutes: migrations change things under a running process. Reads of what it refuses go
// to the database from then on, and back to the store when a later Check no longer refuses it. Its error says that the
// database did not answer; the list then has what was found without it.
func (c *Cache) Check(ctx context.Context) (finding.List, error) {
	var list finding.List
	if s, ok := c.store.(interface {
		Inspect(ctx context.Context) []finding.Finding
	}); ok {
		list = append(list, s.Inspect(ctx)...)
	}
	list = append(append(list, c.evictionsNow(ctx)...), c.replicas.findings()...)
	c.catalog.mu.Lock()
	found, err := c.readCatalog(ctx)
	c.catalog.mu.Unlock()
	list = finding.Allow(c.cfg.Allow).Apply(append(list, found...))
	list.Sort()
	if err != nil {
		return list, errors.Join(errors.New("aside: Check"), err)
	}
	return list, nil
}

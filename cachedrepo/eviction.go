package cachedrepo

import (
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/store"
)

// checkEviction refuses strict tables on a store that may drop writers' tokens to make room: intents are small, short-lived
// and never read again, so that they are the first to go.
func (rt *runtime) checkEviction() error {
	list := finding.Allow(rt.cfg.Allow).Apply(rt.evictions())
	for _, f := range list {
		if f.Severity == finding.Refuse {
			return fmt.Errorf("aside: strict mode would not keep its promise (docs/strict.md; Config.Allow takes %q): %s; %s", f.Code, f.Text, f.Advice)
		}
		rt.cfg.Logger.Warn("aside: strict mode may not keep its promise", "finding", f.String())
	}
	return nil
}

func (rt *runtime) evictions() finding.List {
	s, ok := rt.store.(store.Evicting)
	if rt.strict == nil || !ok {
		return nil
	}
	setting := s.EvictsTokens()
	if setting == "" {
		return nil
	}
	var names []string
	for rel := range rt.tables {
		if rel.Strict {
			names = append(names, rel.Name)
		}
	}
	slices.Sort(names)
	return finding.List{{
		Code: finding.StrictEviction, Severity: finding.Refuse, Object: "maxmemory-policy",
		Text:   fmt.Sprintf("%s may evict the intents of strict writers (%s)", setting, strings.Join(names, ", ")),
		Advice: "set volatile-lru or volatile-lfu, or noeviction, or keep the cache on a server of its own",
	}}
}

package cachedrepo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/store"
)

// checkEviction refuses strict tables, and reads from replicas, on a store that may drop writers' tokens to make room:
// intents and marks are small, short-lived and hardly ever read, so that they are the first to go.
func (rt *runtime) checkEviction() error {
	list := finding.Allow(rt.cfg.Allow).Apply(rt.evictions())
	for _, f := range list {
		if f.Severity == finding.Refuse {
			return fmt.Errorf("aside: what is promised would not be kept (docs/strict.md, docs/replicas.md; Config.Allow takes %q): %s; %s", f.Code, f.Text, f.Advice)
		}
		rt.cfg.Logger.Warn("aside: what is promised may not be kept", "finding", f.String())
	}
	return nil
}

// evictionsNow asks the store for its settings first: they may have changed, or may not have been to be had before.
func (rt *runtime) evictionsNow(ctx context.Context) finding.List {
	if s, ok := rt.store.(interface {
		Check(ctx context.Context) error
	}); ok && rt.strict != nil {
		if err := s.Check(ctx); err != nil {
			rt.trouble(ctx, "strict", err)
		}
	}
	return rt.evictions()
}

func (rt *runtime) evictions() finding.List {
	s, ok := rt.store.(store.Evicting)
	if rt.strict == nil && rt.marks == nil || !ok {
		return nil
	}
	setting := s.EvictsTokens()
	if setting == "" {
		return nil
	}
	var list finding.List
	advice := "set volatile-lru or volatile-lfu, or noeviction, or keep the cache on a server of its own"
	if rt.marks != nil {
		list = append(list, finding.Finding{
			Code: finding.ReplicaEviction, Severity: finding.Refuse, Object: "maxmemory-policy",
			Text: setting + " may evict the marks that keep reads of what was just written from replicas", Advice: advice,
		})
	}
	if rt.strict == nil {
		return list
	}
	var names []string
	for rel := range rt.tables {
		if rel.Strict {
			names = append(names, rel.Name)
		}
	}
	slices.Sort(names)
	return append(list, finding.Finding{
		Code: finding.StrictEviction, Severity: finding.Refuse, Object: "maxmemory-policy",
		Text:   fmt.Sprintf("%s may evict the intents of strict writers (%s)", setting, strings.Join(names, ", ")),
		Advice: advice,
	})
}

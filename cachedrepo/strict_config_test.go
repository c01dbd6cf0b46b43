package cachedrepo_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

func TestStrictConfigIsChecked(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	for _, test := range []struct {
		cfg  cachedrepo.StrictConfig
		want string // in the error; empty: none
	}{
		{cachedrepo.StrictConfig{}, ""},
		{cachedrepo.StrictConfig{Deadline: 3 * time.Second, OnAway: cachedrepo.GoOn}, ""},
		{cachedrepo.StrictConfig{Deadline: time.Hour}, ""},
		{cachedrepo.StrictConfig{Deadline: -1}, "Config.Strict.Deadline is negative"},
		{cachedrepo.StrictConfig{Margin: -1}, "Config.Strict.Margin is negative"},
		{cachedrepo.StrictConfig{Deadline: 2 * time.Second}, "the Margin of 2s leaves nothing"},
		{cachedrepo.StrictConfig{Deadline: time.Hour + 1}, "at most 1h"},
		{cachedrepo.StrictConfig{OnAway: 7}, "Config.Strict.OnAway is 7"},
	} {
		c, err := cachedrepo.New(s.db, memstore.New(memstore.Config{}), cachedrepo.Config{
			Namespace: "shop", Tables: model.Tables{strictProducts}, Strict: test.cfg,
		})
		if err == nil {
			_ = c.Close(t.Context())
		}
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.cfg, err, test.want)
		}
	}
}

// A server that makes room by dropping intents is refused, unless somebody says that it may be.
func TestStrictEvictionPolicy(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := testenv.NewRedis(t)
	client := server.Client(t)
	for _, test := range []struct {
		policy string
		strict bool
		allow  []string
		refuse bool
	}{
		{"noeviction", true, nil, false},
		{"volatile-lru", true, nil, false},
		{"volatile-lfu", true, nil, false},
		{"volatile-ttl", true, nil, true},
		{"allkeys-lru", true, nil, true},
		{"allkeys-random", true, nil, true},
		{"allkeys-lru", true, []string{"strict-eviction"}, false},
		{"allkeys-lru", false, nil, false},
	} {
		if err := client.ConfigSet(t.Context(), "maxmemory-policy", test.policy).Err(); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		cfg := cachedrepo.Config{
			Namespace: "shop", Allow: test.allow, Logger: slog.New(slog.NewTextHandler(&log, nil)), Tables: model.Tables{products},
		}
		if test.strict {
			cfg.Tables = model.Tables{strictProducts}
		}
		c, err := cachedrepo.New(s.db, redisstore.New(client), cfg)
		if err != nil {
			if !test.refuse || !strings.Contains(err.Error(), "maxmemory-policy "+test.policy) || !strings.Contains(err.Error(), "(products)") {
				t.Errorf("%+v: %v", test, err)
			}
			continue
		}
		if test.refuse {
			t.Errorf("%+v: New accepted it", test)
		}
		// What New has found is found again, and so is what has changed since.
		if err := client.ConfigSet(t.Context(), "maxmemory-policy", "volatile-ttl").Err(); err != nil {
			t.Fatal(err)
		}
		if list, _ := c.Check(t.Context()); test.strict != slices.ContainsFunc(list, func(f finding.Finding) bool {
			return f.Code == finding.StrictEviction && strings.Contains(f.Text, "volatile-ttl")
		}) {
			t.Errorf("%+v: after a change: %v", test, list)
		}
		if err := client.ConfigSet(t.Context(), "maxmemory-policy", test.policy).Err(); err != nil {
			t.Fatal(err)
		}
		list, err := c.Check(t.Context())
		found := 0
		for _, f := range list {
			if f.Code == finding.StrictEviction {
				found++
				if f.Severity != finding.Warn {
					t.Errorf("%+v: %s", test, f)
				}
			}
		}
		if want := len(test.allow); err != nil || found != want || strings.Contains(log.String(), "strict-eviction") != (want > 0) {
			t.Errorf("%+v: Check found it %d times, %v; log: %s", test, found, err, log.String())
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// A rolling deploy makes a table strict: the old processes go on as they were, the new ones do not serve what they could not
// answer for. When the last old one has gone, they do, and use nothing of what it stored.
func TestStrictRollout(t *testing.T) {
	t.Parallel()
	s := registeredShop(t)
	server := testenv.Redis(t)
	p := s.insert(t, "A-1")
	ctx := t.Context()
	start := func(strict bool) *process {
		st := redisstore.New(server.Client(t))
		if strict {
			return s.strictly(t, st, server.Prefix(), registered)
		}
		return s.process(t, st, server.Prefix(), registered)
	}
	// 1. An old process serves.
	old := start(false)
	old.reads(t, p.ID, "old")
	old.hits(t, p.ID, "old")
	// 2. A new one starts. It reads the database; the old one serves as before, and sees what the new one writes.
	first := start(true)
	first.reads(t, p.ID, "old")
	if st := first.cache.Stats(); st.Maintained != 1 || st.Hits != 0 {
		t.Errorf("%d maintained, %d hits", st.Maintained, st.Hits)
	}
	old.hits(t, p.ID, "old")
	first.rename(t, p.ID, "new")
	old.reads(t, p.ID, "new")
	old.hits(t, p.ID, "new")
	// 3. Another new one: neither serves while the old one lives.
	second := start(true)
	second.reads(t, p.ID, "new")
	if second.cache.Stats().Hits != 0 {
		t.Error("served while a process in default mode lives")
	}
	// 4. The old one goes. The new ones serve, but not what it left.
	if err := old.cache.Close(context.WithoutCancel(ctx)); err != nil {
		t.Fatal(err)
	}
	until(t, "the new processes to serve", func() bool {
		second.reads(t, p.ID, "new")
		return second.cache.Stats().Misses > 0
	})
	if st := second.cache.Stats(); st.Epoch == 0 {
		t.Errorf("what the old process stored was not found, or used: %+v", st)
	}
	until(t, "both to serve", func() bool {
		first.reads(t, p.ID, "new")
		return first.cache.Stats().Hits > 0
	})
	// 5. Back again: a process in default mode starts, and both stop at once.
	start(false)
	before := first.cache.Stats().Maintained
	first.reads(t, p.ID, "new")
	second.reads(t, p.ID, "new")
	if first.cache.Stats().Maintained != before+1 {
		t.Error("serves beside a process in default mode")
	}
}

package testenv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/internal/localserver"
)

func TestSharedRedisGivesEachTestAPrefix(t *testing.T) {
	t.Parallel()
	one, two := Redis(t), Redis(t)
	if one.Addr() != two.Addr() {
		t.Errorf("servers %s and %s, want one", one.Addr(), two.Addr())
	}
	if one.Prefix() == two.Prefix() || strings.HasPrefix(two.Prefix(), one.Prefix()+":") {
		t.Errorf("prefixes %s and %s are not apart", one.Prefix(), two.Prefix())
	}
	ctx := t.Context()
	if err := one.Client(t).Set(ctx, one.Prefix()+":k", "v", time.Minute).Err(); err != nil {
		t.Fatal(err)
	}
	if err := two.Client(t).Get(ctx, two.Prefix()+":k").Err(); !errors.Is(err, redis.Nil) {
		t.Errorf("the other test's key: %v, want redis.Nil", err)
	}
}

func TestDeleteKeysLeavesOtherTestsAlone(t *testing.T) {
	t.Parallel()
	one, two := Redis(t), Redis(t)
	client := one.Client(t)
	ctx := t.Context()
	for _, r := range []*RedisServer{one, two} {
		for i := range 50 {
			client.Set(ctx, fmt.Sprintf("%s:%d", r.Prefix(), i), "v", time.Minute)
		}
	}
	if err := one.deleteKeys(); err != nil {
		t.Fatal(err)
	}
	for r, want := range map[*RedisServer]int{one: 0, two: 50} {
		if keys := client.Keys(ctx, r.Prefix()+":*").Val(); len(keys) != want {
			t.Errorf("%d keys left, want %d", len(keys), want)
		}
	}
}

// The client obeys its caller's deadline in front of a server that hangs, and
// fails at once in front of one that is gone.
func TestClientObeysDeadlines(t *testing.T) {
	t.Parallel()
	own := NewRedis(t)
	client := own.Client(t)
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	own.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := client.Ping(ctx).Err(); err == nil {
		t.Error("a frozen server answered")
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("a frozen server held the caller for %v", took)
	}
	own.Continue()
	own.Kill()
	began = time.Now()
	if err := client.Ping(t.Context()).Err(); err == nil {
		t.Error("a killed server answered")
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("a dead server held the caller for %v", took)
	}
	own.Start()
	if err := client.Ping(t.Context()).Err(); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

func TestOwnRedisCountsCommands(t *testing.T) {
	t.Parallel()
	own := NewRedis(t, "--maxmemory", "10mb")
	client := own.Client(t)
	ctx := t.Context()
	if limit := client.ConfigGet(ctx, "maxmemory").Val()["maxmemory"]; limit != "10485760" {
		t.Errorf("maxmemory = %s, want the argument's", limit)
	}
	client.Set(ctx, "k", "v", 0)
	own.ResetCommands(t)
	client.Get(ctx, "k")
	client.Get(ctx, "k")
	counts := own.Commands(t)
	if counts["get"] != 2 || counts["set"] != 0 {
		t.Errorf("counts %v, want 2 get and no set", counts)
	}
}

func TestMissingProgramAdvisesSetup(t *testing.T) {
	t.Parallel()
	probe := &probeTB{TB: t}
	probe.run(func() { must(probe, 0, fmt.Errorf("redis-server: %w", localserver.ErrNotInstalled)) })
	if !strings.Contains(probe.fatal, "make setup") {
		t.Errorf("said %q, want advice", probe.fatal)
	}
}

package redisstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/cachedrepo/storetest"
	"github.com/asidego/aside/internal/testenv"
)

// newCluster is two masters with half of the slots each.
func newCluster(t *testing.T) (client *redis.ClusterClient, nodes [2]*testenv.OwnRedis) {
	t.Helper()
	ctx := context.Background()
	var admin [2]*redis.Client
	for i, slots := range [2][]any{{0, 8191}, {8192, 16383}} {
		nodes[i] = testenv.NewRedis(t, "--cluster-enabled", "yes")
		admin[i] = nodes[i].Client(t)
		if err := admin[i].Do(ctx, append([]any{"cluster", "addslotsrange"}, slots...)...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	host, port, _ := strings.Cut(nodes[1].Addr(), ":")
	if err := admin[0].ClusterMeet(ctx, host, port).Err(); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for _, a := range admin {
		for {
			info := a.ClusterInfo(ctx).Val()
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:2") && strings.Contains(info, "cluster_slots_ok:16384") {
				break
			}
			if time.Since(begin) > 20*time.Second {
				t.Fatalf("no cluster: %s", info)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	client = redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{nodes[0].Addr()}, ContextTimeoutEnabled: true, DialerRetries: 1})
	t.Cleanup(func() { _ = client.Close() })
	return client, nodes
}

func TestCluster(t *testing.T) {
	t.Parallel()
	client, nodes := newCluster(t)
	storetest.Run(t, func(*testing.T) storetest.Harness {
		return storetest.Harness{
			Store: New(client), Prefix: "p:",
			Peek: func(key string) store.Entry { return entry(t, client, time.Now, key) },
		}
	})

	s := New(client)
	if err := s.Check(context.Background()); err != nil || len(s.Warnings()) != 0 {
		t.Errorf("Check: %v, %q", err, s.Warnings())
	}
	// One node has forgotten the scripts: what ran on the other is not run again.
	do(t, s, ops(store.Invalidate, "slot", 100)...)
	do(t, s, ops(store.Intend, "slot", 100)...)
	admin := nodes[0].Client(t)
	if err := admin.ScriptFlush(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		n.ResetCommands(t)
	}
	for i, r := range do(t, s, ops(store.Release, "slot", 100)...) {
		if r.Lost || r.State != store.Absent {
			t.Errorf("release %d: %+v", i, r)
		}
	}
	first, second := nodes[0].Commands(t), nodes[1].Commands(t)
	if first["eval"] != 1 || second["eval"] != 0 || (first["evalsha"]+1)/2+second["evalsha"] != 100 {
		t.Errorf("%d and %d evalsha, %d and %d eval", first["evalsha"], second["evalsha"], first["eval"], second["eval"])
	}
}

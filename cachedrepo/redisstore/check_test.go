package redisstore

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
)

// TestUnfitClients: refused by Check and by every Do, before a command is sent.
func TestUnfitClients(t *testing.T) {
	nowhere := []string{"127.0.0.1:1"}
	for name, client := range map[string]redis.UniversalClient{
		"Ring":           redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": nowhere[0]}}),
		"ReadOnly":       redis.NewClusterClient(&redis.ClusterOptions{Addrs: nowhere, ReadOnly: true}),
		"RouteByLatency": redis.NewClusterClient(&redis.ClusterOptions{Addrs: nowhere, RouteByLatency: true}),
		"RouteRandomly":  redis.NewClusterClient(&redis.ClusterOptions{Addrs: nowhere, RouteRandomly: true}),
	} {
		s := New(client)
		for what, err := range map[string]error{
			"Check": s.Check(context.Background()),
			"Do":    s.Do(context.Background(), make([]store.Op, 1), make([]store.Reply, 1)),
		} {
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		_ = client.Close()
	}
	s := New(nil)
	if err := s.Check(context.Background()); err == nil {
		t.Error("a nil client is accepted")
	}
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: nowhere, ContextTimeoutEnabled: true, DialerRetries: 1})
	defer cluster.Close()
	if s := New(cluster); s.Check(context.Background()) != nil || len(s.Warnings()) != 0 || !s.cluster {
		t.Errorf("a Cluster client: %v, %q", s.Check(context.Background()), s.Warnings())
	}
}

func TestWarnings(t *testing.T) {
	about := func(o *redis.Options) []string {
		client := redis.NewClient(o)
		defer client.Close()
		return New(client).Warnings()
	}
	got := about(&redis.Options{})
	for _, setting := range []string{"ContextTimeoutEnabled", "MaxRetries", "DialerRetries"} {
		if !strings.Contains(strings.Join(got, "\n"), setting) {
			t.Errorf("nothing about %s in %q", setting, got)
		}
	}
	o := &redis.Options{ClientSideCacheConfig: &redis.ClientSideCacheConfig{}}
	if got := about(o); len(got) != 4 || !strings.Contains(got[3], "ClientSideCache") {
		t.Errorf("warnings %q", got)
	}
	Tune(o)
	if got := about(o); len(got) != 0 {
		t.Errorf("after Tune %q", got)
	}
	if s := New(struct{ redis.UniversalClient }{}); len(s.Warnings()) != 2 || !s.cluster {
		t.Errorf("a wrapper: %q", s.Warnings())
	}
}

// TestEvictionPolicy: where keys with an expiry go first, tokens have none, and they still end by their deadlines.
func TestEvictionPolicy(t *testing.T) {
	server := testenv.NewRedis(t)
	client := server.Client(t)
	ctx := context.Background()
	s := New(client)
	set := func(policy string) {
		t.Helper()
		if err := client.ConfigSet(ctx, "maxmemory-policy", policy).Err(); err != nil {
			t.Fatal(err)
		}
		if err := s.Check(ctx); err != nil {
			t.Fatal(err)
		}
	}
	set("allkeys-lru")
	if got := s.Warnings(); len(got) != 1 || !strings.Contains(got[0], "allkeys-lru") {
		t.Errorf("warnings %q", got)
	}
	set("volatile-lru")
	if got := s.Warnings(); len(got) != 0 {
		t.Errorf("warnings %q", got)
	}

	const short = 200 * time.Millisecond
	do(t, s,
		store.Op{Kind: store.Intend, Key: "row", Token: tok(1), TTL: short},
		store.Op{Kind: store.Intend, Key: "dead", Token: tok(1), TTL: short},
		store.Op{Kind: store.Intend, Key: "deader", Token: tok(1), TTL: short},
		store.Op{Kind: store.Enter, Key: "tag", Token: tok(1), TTL: short},
		store.Op{Kind: store.Enter, Key: "left", Token: tok(1), TTL: time.Hour},
		store.Op{Kind: store.Stamps, Key: "free", Token: tok(1), TTL: time.Hour})
	do(t, s, store.Op{Kind: store.Leave, Key: "left", Token: tok(1)})
	for key, expires := range map[string]bool{"row": false, "tag": false, "left": true, "free": true} {
		if left := client.PTTL(ctx, key).Val(); (left > 0) != expires {
			t.Errorf("%s has an expiry of %v", key, left)
		}
	}
	// A flood of values takes the values, not the tokens.
	if err := client.ConfigSet(ctx, "maxmemory", "3mb").Err(); err != nil {
		t.Fatal(err)
	}
	for n := range 50 {
		batch := ops(store.Acquire, strings.Repeat("x", n+1), 100)
		do(t, s, batch...)
		for i := range batch {
			batch[i].Kind, batch[i].Value = store.Fill, make([]byte, 1000)
		}
		do(t, s, batch...)
	}
	if client.Exists(ctx, "row", "tag").Val() != 2 {
		t.Error("tokens were evicted")
	}

	// Get, MGET, and SET NX GET see bytes of the past, and ask the script.
	gone := func(replies ...store.Reply) bool {
		for _, r := range replies {
			if r.State != store.Absent {
				return false
			}
		}
		return true
	}
	begin := time.Now()
	for !gone(do(t, s, store.Op{Key: "row"})...) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the key of a dead writer is never free")
		}
		time.Sleep(short / 20)
	}
	if client.Exists(ctx, "row").Val() != 0 {
		t.Error("the dead tokens are still there")
	}
	if !gone(do(t, s, store.Op{Key: "dead"}, store.Op{Key: "tag"})...) {
		t.Error("a batch of reads does not see that a writer is dead")
	}
	if r := do(t, s, store.Op{Kind: store.Acquire, Key: "deader", Token: tok(2), TTL: time.Hour})[0]; r.Token != tok(2) {
		t.Errorf("a dead writer keeps the lease from everybody: %+v", r)
	}

	// Processes need not agree: one that has not checked gives the key an expiry, and takes no token away.
	do(t, s, store.Op{Kind: store.Intend, Key: "shared", Token: tok(1), TTL: time.Hour})
	other := New(client)
	do(t, other, store.Op{Kind: store.Intend, Key: "shared", Token: tok(2), TTL: time.Minute})
	if left := client.PTTL(ctx, "shared").Val(); left < 50*time.Minute {
		t.Errorf("expires in %v, its first token in an hour", left)
	}
	do(t, s, store.Op{Kind: store.Release, Key: "shared", Token: tok(2)}) // by s: no expiry
	do(t, other, store.Op{Kind: store.Intend, Key: "shared", Token: tok(1), TTL: time.Minute})
	if left := client.PTTL(ctx, "shared").Val(); left < 50*time.Minute {
		t.Errorf("has an expiry of %v, its token one in an hour", left)
	}
	if r := do(t, s, store.Op{Kind: store.Release, Key: "shared", Token: tok(1)})[0]; r.Lost {
		t.Error("a token is lost")
	}
}

// TestForeign: what this package did not write is a value that nobody can use, and that blocks nobody.
func TestForeign(t *testing.T) {
	_, client, _, _ := mini(t)
	realServer := testenv.NewRedis(t)
	for name, client := range map[string]*redis.Client{"miniredis": client, "redis": realServer.Client(t)} {
		for _, cluster := range []bool{false, true} {
			s := New(client)
			s.cluster = cluster
			ctx := context.Background()
			plant := map[string]func(key string) error{"hash": func(key string) error { return client.HSet(ctx, key, "f", "v").Err() }}
			for _, raw := range []string{"", "x", "V", "V2next", "L1short", "L1" + strings.Repeat("x", 17), "I1", "I1" + strings.Repeat("x", 25), "G1", "G1" + strings.Repeat("x", 17), "hello world"} {
				plant[raw] = func(key string) error { return client.Set(ctx, key, raw, 0).Err() }
			}
			for what, put := range plant {
				each := func(op store.Op, want func(r store.Reply) bool) {
					t.Helper()
					if err := client.Del(ctx, "f").Err(); err != nil {
						t.Fatal(err)
					}
					if err := put("f"); err != nil {
						t.Fatal(err)
					}
					op.Key, op.TTL = "f", time.Minute
					if r := do(t, s, op)[0]; !want(r) {
						t.Errorf("%s, %q: operation %d answers %+v", name, what, op.Kind, r)
					}
				}
				unusable := func(r store.Reply) bool { return r.State == store.Value && len(r.Value) == 0 }
				each(store.Op{Kind: store.Get}, unusable)
				each(store.Op{Kind: store.Acquire, Token: tok(1)}, unusable)
				each(store.Op{Kind: store.AcquireOver, Token: tok(1), Value: []byte("other")}, unusable)
				each(store.Op{Kind: store.Fill, Token: tok(1)}, func(r store.Reply) bool { return r.Refused })
				each(store.Op{Kind: store.Intend, Token: tok(1)}, func(r store.Reply) bool { return r.State == store.Intent })
				each(store.Op{Kind: store.Release, Token: tok(1)}, func(r store.Reply) bool { return r.State == store.Absent && r.Lost })
				each(store.Op{Kind: store.Invalidate}, func(r store.Reply) bool { return r.State == store.Absent })
				each(store.Op{Kind: store.Bump, Token: tok(1)}, func(r store.Reply) bool { return r.State == store.Absent })
				each(store.Op{Kind: store.Stamps, Token: tok(1)}, func(r store.Reply) bool { return r.State == store.Generation && !r.Held })
				each(store.Op{Kind: store.Enter, Token: tok(1)}, func(r store.Reply) bool { return r.State == store.Generation && r.Held })
				each(store.Op{Kind: store.Leave, Token: tok(1)}, func(r store.Reply) bool { return r.State == store.Absent && r.Lost })
				each(store.Op{Kind: store.AcquireOver, Token: tok(1)}, func(r store.Reply) bool { return r.State == store.Lease && r.Token == tok(1) })
				// From reading on: two reads at once, the lease, the fill.
				client.Del(ctx, "f2")
				if err := put("f2"); err != nil {
					t.Fatal(err)
				}
				r := do(t, s, store.Op{Key: "f2"}, store.Op{Key: "f"})[0]
				if r.State == store.Absent { // MGET does not tell a hash from nothing
					r = do(t, s, store.Op{Kind: store.Acquire, Key: "f2", Token: tok(1), TTL: time.Minute})[0]
				}
				if !unusable(r) {
					t.Errorf("%s, %q: read as %+v", name, what, r)
				}
				do(t, s, store.Op{Kind: store.AcquireOver, Key: "f2", Token: tok(1), Value: r.Value, TTL: time.Minute})
				do(t, s, store.Op{Kind: store.Fill, Key: "f2", Token: tok(1), Value: []byte("v"), TTL: time.Minute})
				if r := do(t, s, store.Op{Key: "f2"})[0]; string(r.Value) != "v" {
					t.Errorf("%s, %q: the key is stuck: %+v", name, what, r)
				}
			}
		}
	}
}

// FuzzDecode: no bytes in Redis make a reader panic.
func FuzzDecode(f *testing.F) {
	for _, raw := range []string{"", "V1", "V1x", "L1" + strings.Repeat("x", 16), "I1" + strings.Repeat("x", 24), "G1" + strings.Repeat("x", 40)} {
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		r, _ := decode(raw, 1<<40)
		if r.State == store.Absent || r.State == store.Value && !strings.HasPrefix(raw, "V1") && len(r.Value) > 0 {
			t.Errorf("%q is read as %+v", raw, r)
		}
	})
}

// TestFailoverClients: those of Sentinel that read from replicas. ReplicaOnly of a plain client is not in its options: it
// is found by the role of who answers, see "a replica" in TestRefused.
func TestFailoverClients(t *testing.T) {
	for name, o := range map[string]*redis.FailoverOptions{
		"ReplicaOnly":    {ReplicaOnly: true},
		"RouteByLatency": {RouteByLatency: true},
		"RouteRandomly":  {RouteRandomly: true},
	} {
		o.MasterName, o.SentinelAddrs = "m", []string{"127.0.0.1:1"}
		client := redis.NewFailoverClusterClient(o)
		if err := New(client).Check(context.Background()); err == nil {
			t.Errorf("%s is accepted", name)
		}
		_ = client.Close()
	}
}

// TestClusterRoles: a server that the client takes for a master and that answers as a replica is refused.
func TestClusterRoles(t *testing.T) {
	t.Parallel()
	master, replica := testenv.NewRedis(t), testenv.NewRedis(t)
	ctx := context.Background()
	if err := replica.Client(t).Do(ctx, "replicaof", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		second *testenv.OwnRedis
		ok     bool
	}{{replica, false}, {testenv.NewRedis(t), true}} {
		client := redis.NewClusterClient(&redis.ClusterOptions{
			ContextTimeoutEnabled: true, DialerRetries: 1,
			ClusterSlots: func(context.Context) ([]redis.ClusterSlot, error) {
				return []redis.ClusterSlot{
					{Start: 0, End: 8191, Nodes: []redis.ClusterNode{{Addr: master.Addr()}}},
					{Start: 8192, End: 16383, Nodes: []redis.ClusterNode{{Addr: tt.second.Addr()}}},
				}, nil
			},
		})
		err := New(client).Check(ctx)
		if tt.ok && err != nil || !tt.ok && (err == nil || !strings.Contains(err.Error(), tt.second.Addr()[len("127.0.0.1"):])) {
			t.Errorf("Check: %v", err)
		}
		_ = client.Close()
	}
}

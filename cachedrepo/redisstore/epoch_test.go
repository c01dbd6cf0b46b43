package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
)

// epochOf looks at a key and returns the epoch that the answer is judged by.
func epochOf(t *testing.T, s *Store, key string) uint64 {
	t.Helper()
	do(t, s, store.Op{Key: key})
	e := s.Epoch(key)
	if e == 0 || e != s.Epoch(key) {
		t.Fatalf("the epoch of %s is not known", key)
	}
	return e
}

// eventually looks until the server answers.
func eventually(t *testing.T, s *Store, key string) (store.Reply, uint64) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		replies := make([]store.Reply, 1)
		err := s.Do(ctx, []store.Op{{Key: key}}, replies)
		e := s.Epoch(key)
		cancel()
		if err == nil {
			return replies[0], e
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// put stores a value as a reader does.
func put(t *testing.T, s *Store, key, value string) {
	t.Helper()
	do(t, s, store.Op{Kind: store.Invalidate, Key: key}, store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: time.Hour},
		store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: []byte(value), TTL: time.Hour})
}

// A server that is killed and starts with an old file has the value that was invalidated. The very first answer is judged by
// another epoch, in the process that saw it die as well as in one that never spoke with it before.
func TestEpochRestartWithOldFile(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t, "--appendonly", "no")
	client := server.Client(t)
	s := New(client)
	put(t, s, "k", "old")
	before := epochOf(t, s, "k")
	if e := epochOf(t, New(server.Client(t)), "k"); e != before {
		t.Errorf("another process is in epoch %x, not %x", e, before)
	}
	if err := client.Save(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	do(t, s, store.Op{Kind: store.Invalidate, Key: "k"})
	server.Kill()
	server.Start()
	r, after := eventually(t, s, "k")
	if r.State != store.Value || string(r.Value) != "old" {
		t.Fatalf("the old value is not back: %+v", r)
	}
	if after == before {
		t.Error("what was invalidated is back, in the same epoch")
	}
	if e := epochOf(t, New(server.Client(t)), "k"); e != after {
		t.Error("processes disagree")
	}
}

// A is promoted, then B, then A: A's run id is the same, its epoch is not.
func TestEpochABA(t *testing.T) {
	t.Parallel()
	a := testenv.NewRedis(t)
	b := testenv.NewRedisReplica(t, a)
	ctx := context.Background()
	admin := map[*testenv.OwnRedis]*redis.Client{a: a.Client(t), b: b.Client(t)}
	follow := func(replica, master *testenv.OwnRedis) {
		t.Helper()
		host, port, _ := net.SplitHostPort(master.Addr())
		for _, cmd := range []struct {
			on   *testenv.OwnRedis
			args []any
		}{{master, []any{"replicaof", "no", "one"}}, {replica, []any{"replicaof", host, port}}} {
			if err := admin[cmd.on].Do(ctx, cmd.args...).Err(); err != nil {
				t.Fatal(err)
			}
		}
		for end := time.Now().Add(30 * time.Second); replica.Info(t, "master_link_status") != "up"; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("no link")
			}
		}
	}
	s := New(a.Client(t))
	all := []uint64{epochOf(t, s, "k")}
	follow(a, b)
	all = append(all, epochOf(t, New(b.Client(t)), "k"))
	follow(b, a)
	if err := s.Learn(ctx); err != nil { // its connection has been open all the time
		t.Fatal(err)
	}
	all = append(all, epochOf(t, s, "k"))
	slices.Sort(all)
	if len(slices.Compact(all)) != 3 {
		t.Errorf("epochs %x", all)
	}
}

// A settled store sends nothing but what it is asked; each new connection costs one question.
func TestEpochIsAskedWhenConnectionsAreMade(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	o := server.Options()
	o.PoolSize, o.PipelinePoolSize = 1, -1
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	s := New(client)
	before := epochOf(t, s, "k")
	epochOf(t, s, "k")
	server.ResetCommands(t)
	for range 20 {
		epochOf(t, s, "k")
	}
	asked := server.Commands(t)["info"]
	if asked > 1 { // that of Commands
		t.Errorf("%d questions without a reason", asked-1)
	}
	if err := server.Client(t).ClientKillByFilter(context.Background(), "TYPE", "normal", "SKIPME", "yes").Err(); err != nil {
		t.Fatal(err)
	}
	if _, e := eventually(t, s, "k"); e != before {
		t.Error("another epoch without a reason")
	}
	if n := server.Commands(t)["info"]; n < asked+1+2 {
		t.Errorf("%d questions after a new connection", n-asked-1)
	}
}

// Where INFO is not allowed, or not known, the epoch is 0 for good, which is said once.
func TestEpochDenied(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	allow(t, server.Client(t), append(slices.Clone(needed), "hello", "ping")...)
	o := server.Options()
	o.Username, o.Password = "app", "secret"
	denied := redis.NewClient(o)
	t.Cleanup(func() { _ = denied.Close() })
	for name, client := range map[string]*redis.Client{"denied": denied, "unknown": tuned(t, miniredis.RunT(t).Addr())} {
		s := New(client)
		if err := s.Check(context.Background()); err != nil {
			t.Errorf("%s: Check: %v", name, err)
		}
		do(t, s, store.Op{Key: "p:k"})
		if e := s.Epoch("p:k"); e != 0 {
			t.Errorf("%s: epoch %x", name, e)
		}
		if w := strings.Join(s.Warnings(), "\n"); strings.Count(w, "failover cannot be noticed") != 1 {
			t.Errorf("%s: warnings %q", name, w)
		}
		if err := s.Learn(context.Background()); err != nil {
			t.Errorf("%s: said twice: %v", name, err)
		}
	}
}

// Two servers that answer at one address in turns are found out: an epoch never comes back by itself.
func TestEpochFlaps(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	s := NewWith(testenv.Redis(t).Client(t), Config{Epoch: func(context.Context, redis.UniversalClient) (string, error) {
		return fmt.Sprint("backend ", n.Add(1)%2), nil
	}})
	var told error
	for range 20 {
		told = errors.Join(told, s.Learn(context.Background()))
	}
	if e := s.Epoch("k"); e != 0 {
		t.Errorf("epoch %x", e)
	}
	if told == nil || strings.Count(told.Error(), "in turns") != 1 {
		t.Errorf("told %v", told)
	}
}

func TestEpochFixed(t *testing.T) {
	t.Parallel()
	server := testenv.NewRedis(t)
	s := NewWith(server.Client(t), Config{Epoch: FixedEpoch("blue")})
	e := epochOf(t, s, "k")
	if epochOf(t, NewWith(server.Client(t), Config{Epoch: FixedEpoch("blue")}), "k") != e ||
		epochOf(t, NewWith(server.Client(t), Config{Epoch: FixedEpoch("green")}), "k") == e {
		t.Error("the name does not decide")
	}
	if n := server.Commands(t)["info"]; n > 1 {
		t.Errorf("%d questions", n)
	}
}

// Of a server that nobody has asked yet, or of which not even the address is known, no two answers are of the same epoch.
func TestEpochOfNobody(t *testing.T) {
	t.Parallel()
	asked := New(testenv.RedisCluster(t).Client(t))
	if err := asked.client.(*redis.ClusterClient).ForEachMaster(context.Background(), func(context.Context, *redis.Client) error { return nil }); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*Store{
		"one server": New(testenv.Redis(t).Client(t)), "a Cluster without a map": New(testenv.RedisCluster(t).Client(t)), "a Cluster": asked,
	} {
		if first, second := s.Epoch("k"), s.Epoch("k"); first == second {
			t.Errorf("%s: the epoch is %x", name, first)
		}
	}
}

// A server that says that it is a replica is not believed any more, by calls over connections that have been open all the
// time: it may take writes, so that no refusal tells of it.
func TestEpochDemoted(t *testing.T) {
	t.Parallel()
	demoted(t, "--replica-read-only", func(t *testing.T, s *Store) {
		if err := s.Learn(context.Background()); !errors.Is(err, store.ErrRefused) {
			t.Errorf("Learn: %v", err)
		}
		if err := s.Do(context.Background(), []store.Op{{Key: "k"}}, make([]store.Reply, 1)); !errors.Is(err, store.ErrRefused) {
			t.Errorf("what a replica answers counts: %v", err)
		}
	})
}

// A server that refuses a call as only a replica does is not believed to be what it was, although the client keeps the
// connection.
func TestEpochAfterRefusal(t *testing.T) {
	t.Parallel()
	demoted(t, "--replica-serve-stale-data", func(t *testing.T, s *Store) {
		err := s.Do(context.Background(), []store.Op{{Key: "k"}}, make([]store.Reply, 1))
		if !errors.Is(err, store.ErrRefused) || !strings.Contains(err.Error(), "MASTERDOWN") {
			t.Errorf("%v", err)
		}
	})
}

// demoted runs a test while a server, started with a setting off, is a replica. Promoted again it is in another epoch.
func demoted(t *testing.T, off string, test func(t *testing.T, s *Store)) {
	t.Helper()
	server := testenv.NewRedis(t, off, "no")
	s := New(server.Client(t))
	put(t, s, "k", "old")
	before := epochOf(t, s, "k")
	admin := server.Client(t)
	if err := admin.Do(context.Background(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	test(t, s)
	if err := admin.Do(context.Background(), "replicaof", "no", "one").Err(); err != nil {
		t.Fatal(err)
	}
	if e := epochOf(t, s, "k"); e == before {
		t.Error("promoted again, it is in the same epoch")
	}
}

// Who is no master of a Cluster any more is forgotten, connections that are open included.
func TestEpochClusterForgets(t *testing.T) {
	t.Parallel()
	servers := testenv.NewRedisCluster(t)
	servers.AddReplicas(t)
	client := servers.Client(t)
	s := New(client)
	const key = "k"
	ctx := context.Background()
	epochOf(t, s, key)
	owner := s.Node(key)
	node, err := client.MasterForKey(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(servers.Masters, func(m *testenv.OwnRedis) bool { return m.Addr() == owner })
	servers.Replicas[i].Promote(t)
	for end := time.Now().Add(30 * time.Second); s.Node(key) == owner; time.Sleep(time.Millisecond) {
		if client.ReloadState(ctx); time.Now().After(end) {
			t.Fatal("the map is old")
		}
	}
	if at := s.at(node); at.epoch.Load() == 0 {
		t.Fatal("forgotten too early: nobody has learned anything")
	}
	if err := s.Learn(ctx); err != nil {
		t.Fatal(err)
	}
	if at := s.at(node); !at.doubted() || at.epoch.Load() != 0 {
		t.Error("should it be promoted again, it would be taken for who it was")
	}
}

// A question that cannot be answered fails the call that it was asked for: nobody knows what the answer is worth.
func TestEpochUnknown(t *testing.T) {
	t.Parallel()
	var fail atomic.Bool
	s := NewWith(testenv.Redis(t).Client(t), Config{Epoch: func(context.Context, redis.UniversalClient) (string, error) {
		if fail.Load() {
			return "", errors.New("not now")
		}
		return "one", nil
	}})
	epochOf(t, s, "k")
	fail.Store(true)
	s.only.suspect()
	ctx := context.Background()
	if err := s.Do(ctx, []store.Op{{Key: "k"}}, make([]store.Reply, 1)); err == nil {
		t.Error("an answer of nobody knows whom counts")
	}
	if err := s.Do(ctx, []store.Op{{Kind: store.Invalidate, Key: "k"}}, make([]store.Reply, 1)); err != nil {
		t.Errorf("an invalidation asks: %v", err)
	}
	fail.Store(false)
	epochOf(t, s, "k")
}

// A master of a Cluster is killed and its replica has its slots. What the replica answers is judged by the replica's epoch
// from the first answer on, although the client has a map in which the slots are the dead master's.
func TestEpochClusterFailover(t *testing.T) {
	t.Parallel()
	servers := testenv.NewRedisCluster(t)
	servers.AddReplicas(t)
	client := servers.Client(t)
	s := New(client)
	const key = "k"
	put(t, s, key, "old")
	before := epochOf(t, s, key)
	elsewhere := make(map[string]uint64)
	for i := range 50 {
		k := fmt.Sprint("k", i)
		elsewhere[k] = epochOf(t, s, k)
	}
	owner := s.Node(key)
	i := slices.IndexFunc(servers.Masters, func(m *testenv.OwnRedis) bool { return m.Addr() == owner })
	if n := servers.Masters[i].Client(t).Wait(context.Background(), 1, 5*time.Second).Val(); n != 1 {
		t.Fatal("the replica does not have it")
	}
	servers.Masters[i].Stop() // its connections stay open
	servers.Replicas[i].Promote(t)
	go client.ReloadState(context.Background())
	r, after := eventually(t, s, key)
	if r.State != store.Value || string(r.Value) != "old" {
		t.Fatalf("the replica does not have it: %+v", r)
	}
	if after == before || s.Node(key) != servers.Replicas[i].Addr() {
		t.Errorf("judged by the epoch of %s, which is not the server that answered", owner)
	}
	for k, e := range elsewhere {
		if s.Node(k) != owner && s.Node(k) != servers.Replicas[i].Addr() && epochOf(t, s, k) != e {
			t.Errorf("%s is on another server, and in another epoch", k)
		}
	}
}

// A slot moves while the client's map is old: the server that had it answers MOVED. The new owner's answer is judged by the
// new owner's epoch, at once.
func TestEpochMoved(t *testing.T) {
	t.Parallel()
	servers := testenv.NewRedisCluster(t)
	ctx := context.Background()
	// What the client fetches by itself after MOVED, behind the caller's back, takes its time.
	maps := servers.Masters[2].Client(t)
	var slow atomic.Bool
	done := make(chan struct{})
	o := servers.Options()
	o.ClusterSlots = func(ctx context.Context) ([]redis.ClusterSlot, error) {
		if _, hurries := ctx.Deadline(); !hurries && slow.Load() {
			<-done
		}
		//lint:ignore SA1019 it is what the option wants
		return maps.ClusterSlots(ctx).Result()
	}
	client := redis.NewClusterClient(o)
	t.Cleanup(func() {
		close(done)
		_ = client.Close()
	})
	s := New(client)
	key := "k"
	put(t, s, key, "v")
	before := epochOf(t, s, key)
	at := func() *testenv.OwnRedis { // such a client has addresses without a host
		_, port, _ := net.SplitHostPort(s.Node(key))
		return servers.Master(net.JoinHostPort("127.0.0.1", port))
	}
	from, to := at(), servers.Masters[2] // which knows at once
	if from == nil || to == from {
		t.Fatal("choose another key")
	}
	var known *server // the new owner: it was asked, has a connection, and is not in doubt
	for i := 0; known == nil; i++ {
		k := fmt.Sprint("k", i)
		epochOf(t, s, k)
		if _, port, _ := net.SplitHostPort(s.Node(k)); strings.HasSuffix(to.Addr(), ":"+port) {
			known = s.server(ctx, k)
		}
	}
	doubt := known.doubt.Load()
	slot := int(client.ClusterKeySlot(ctx, key).Val())
	id := to.Client(t).Do(ctx, "cluster", "myid").Val()
	fromID := from.Client(t).Do(ctx, "cluster", "myid").Val()
	host, port, _ := net.SplitHostPort(to.Addr())
	for _, cmd := range []struct {
		on   *testenv.OwnRedis
		args []any
	}{
		{to, []any{"cluster", "setslot", slot, "importing", fromID}},
		{from, []any{"cluster", "setslot", slot, "migrating", id}},
		{from, []any{"migrate", host, port, key, 0, 5000}},
		{to, []any{"cluster", "setslot", slot, "node", id}},
		{from, []any{"cluster", "setslot", slot, "node", id}},
	} {
		if err := cmd.on.Client(t).Do(ctx, cmd.args...).Err(); err != nil {
			t.Fatalf("%v: %v", cmd.args, err)
		}
	}
	slow.Store(true)
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	replies := make([]store.Reply, 1)
	if err := s.Do(ctx, []store.Op{{Key: key}}, replies); err != nil || replies[0].State != store.Value {
		t.Fatalf("%+v, %v", replies, err)
	}
	if e := s.Epoch(key); e == before || at() != to {
		t.Error("judged by the epoch of the former owner")
	}
	// It may have been a master before, and something else in between.
	if known.doubt.Load() == doubt || known.doubted() {
		t.Error("the new owner was not asked who it is")
	}
}

// Clocks that are apart are measured by every question, and reported once.
func TestSkew(t *testing.T) {
	t.Parallel()
	s := New(testenv.Redis(t).Client(t))
	if err := s.Learn(context.Background()); err != nil || s.Skew() > time.Second {
		t.Errorf("skew %s, %v", s.Skew(), err)
	}
	now := time.Now()
	s.only.noteClock(now.Add(-5*time.Second), now, now.Add(time.Millisecond))
	if got := s.Skew(); got < 4*time.Second || got > 6*time.Second {
		t.Errorf("skew %s", got)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.clocks(); err == nil {
		t.Error("not reported")
	}
	if err := s.clocks(); err != nil {
		t.Errorf("reported twice: %v", err)
	}
}

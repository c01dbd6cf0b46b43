package redisstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
)

// ops is n operations of a kind on n keys.
func ops(kind store.OpKind, prefix string, n int) []store.Op {
	out := make([]store.Op, n)
	for i := range out {
		out[i] = store.Op{Kind: kind, Key: fmt.Sprintf("%s%d", prefix, i), Token: tok(byte(i)), Value: []byte("v"), TTL: time.Minute}
	}
	return out
}

// TestCommands counts what the server is asked.
func TestCommands(t *testing.T) {
	server := testenv.NewRedis(t)
	s := New(server.Client(t))
	do(t, s, ops(store.Invalidate, "warm", 2)...) // the scripts are known
	do(t, s, ops(store.Fill, "warm", 2)...)

	fill := func(prefix string, n int) {
		do(t, s, ops(store.Acquire, prefix, n)...)
		do(t, s, ops(store.Fill, prefix, n)...)
	}
	fill("full", 100)
	ours := []string{"get", "mget", "set", "del", "eval", "evalsha", "script|load", "multi", "ttl"}
	for _, tt := range []struct {
		name string
		ops  []store.Op
		want map[string]int // beside what the script itself calls
	}{
		{"hit", ops(store.Get, "full", 1), map[string]int{"get": 1}},
		{"miss", ops(store.Get, "none", 1), map[string]int{"get": 1}},
		{"100 hits", ops(store.Get, "full", 100), map[string]int{"mget": 1}},
		{"1,000 reads", ops(store.Get, "full", 1000), map[string]int{"mget": 2}},
		{"lease", ops(store.Acquire, "lease", 1), map[string]int{"set": 1}},
		{"fill", ops(store.Fill, "lease", 1), map[string]int{"evalsha": 1, "get": 1, "set": 1}},
		{"100 leases", ops(store.Acquire, "lease", 100), map[string]int{"evalsha": 1, "get": 100, "set": 99}},
		{"100 invalidations", ops(store.Invalidate, "full", 100), map[string]int{"evalsha": 1, "get": 100, "del": 100}},
		{"the same again", ops(store.Invalidate, "full", 100), map[string]int{"evalsha": 1, "get": 100}},
		{"300 invalidations", ops(store.Invalidate, "full", 300), map[string]int{"evalsha": 3, "get": 300}},
		{"100 of two kinds", append(ops(store.Get, "full", 50), ops(store.Invalidate, "full", 50)...), map[string]int{"evalsha": 1, "get": 100}},
		{"a held lease", ops(store.Acquire, "lease", 1), map[string]int{"set": 1}},
	} {
		server.ResetCommands(t)
		do(t, s, tt.ops...)
		got := server.Commands(t)
		maps.DeleteFunc(got, func(name string, _ int) bool { return !slices.Contains(ours, name) })
		if !maps.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestScriptsLost: a server that has forgotten the scripts is given them again, in whatever batch it notices.
func TestScriptsLost(t *testing.T) {
	server := testenv.NewRedis(t)
	client := server.Client(t)
	for _, cluster := range []bool{false, true} {
		s := New(client)
		s.cluster = cluster
		flush := func() {
			if err := client.ScriptFlush(context.Background()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		do(t, s, ops(store.Acquire, "k", 300)...)
		flush()
		server.ResetCommands(t)
		for i, r := range do(t, s, ops(store.Fill, "k", 300)...) {
			if r.Refused || r.State != store.Value {
				t.Fatalf("fill %d: %+v", i, r)
			}
		}
		if n := server.Commands(t)["eval"]; n != 1 {
			t.Errorf("the source was sent %d times", n)
		}
		flush()
		if r := do(t, s, ops(store.Intend, "k", 1)...)[0]; r.State != store.Intent {
			t.Fatalf("intend: %+v", r)
		}
		flush()
		if r := do(t, s, ops(store.Release, "k", 1)...)[0]; r.Lost {
			t.Fatalf("release: %+v", r)
		}
		flush()
		do(t, s, ops(store.Invalidate, "k", 300)...)
		if n := client.Exists(context.Background(), "k0", "k299").Val(); n != 0 {
			t.Fatalf("%d keys are left", n)
		}
		server.ResetCommands(t)
		do(t, s, ops(store.Invalidate, "k", 300)...)
		if n := server.Commands(t)["eval"]; n != 0 {
			t.Errorf("the source was sent %d times more", n)
		}
	}
}

// TestScriptLostMeanwhile: somebody loads the script between two commands of one pipeline, so the later one runs and the
// earlier one does not. Both are run again, and what stands in the end is what the order says.
func TestScriptLostMeanwhile(t *testing.T) {
	client := testenv.NewRedis(t).Client(t)
	s := New(client)
	batch := append(ops(store.Intend, "k", maxScript), ops(store.Fill, "k", maxScript)...)
	batch[0] = store.Op{Kind: store.Acquire, Key: "lease", Token: tok(1), TTL: time.Minute}
	batch[maxScript] = store.Op{Kind: store.Fill, Key: "lease", Token: tok(1), Value: []byte("v"), TTL: time.Minute}
	hook := &loadBetween{client: client}
	client.AddHook(hook)
	replies := do(t, s, batch...)
	if !hook.done {
		t.Fatal("no pipeline was seen")
	}
	if r := replies[maxScript]; r.Refused || r.State != store.Value {
		t.Errorf("the fill ran before its lease was taken: %+v", r)
	}
}

// TestColdServer: of the first batch on a server that knows neither the scripts nor their first line, each operation runs
// once all the same.
func TestColdServer(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		_, client, _, _ := mini(t)
		s := New(client)
		s.cluster = cluster
		do(t, s, store.Op{Kind: store.Intend, Key: "a", Token: tok(1), TTL: time.Minute}, store.Op{Kind: store.Intend, Key: "b", Token: tok(1), TTL: time.Minute})
		if err := client.ScriptFlush(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		s.plain.Store(false)
		for i, r := range do(t, s,
			store.Op{Kind: store.Release, Key: "a", Token: tok(1)},
			store.Op{Kind: store.Stamps, Key: "g", Token: tok(1), TTL: time.Minute},
			store.Op{Kind: store.Release, Key: "b", Token: tok(1)},
			store.Op{Kind: store.Intend, Key: "b", Token: tok(2), TTL: time.Minute},
			store.Op{Kind: store.Release, Key: "b", Token: tok(2)}) {
			if r.Lost {
				t.Errorf("cluster %v: operation %d has run twice: %+v", cluster, i, r)
			}
		}
	}
}

// loadBetween puts a SCRIPT LOAD after the first command of the first pipeline, as another process would.
type loadBetween struct {
	client *redis.Client
	done   bool
}

func (l *loadBetween) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (l *loadBetween) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (l *loadBetween) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		if !l.done && len(cmds) == 2 {
			l.done = true
			load := redis.NewStringCmd(ctx, "script", "load", growing.source)
			return next(ctx, []redis.Cmder{cmds[0], load, cmds[1]})
		}
		return next(ctx, cmds)
	}
}

// TestRetryingClient: the reply is lost after the server has acted, and the client sends the command again.
func TestRetryingClient(t *testing.T) {
	server := testenv.Redis(t)
	for _, step := range []struct {
		kind  store.OpKind
		right func(r store.Reply) bool
	}{
		{store.Acquire, func(r store.Reply) bool { return r.State == store.Lease && r.Token == tok(1) }},
		{store.Fill, func(r store.Reply) bool { return r.State == store.Value && !r.Refused }},
		{store.AcquireOver, func(r store.Reply) bool { return r.State == store.Lease && r.Token == tok(1) }},
		{store.Abandon, func(r store.Reply) bool { return r.State == store.Absent }},
		{store.Intend, func(r store.Reply) bool { return r.State == store.Intent }},
	} {
		proxy := faults.NewProxy(t, server.Addr())
		o := server.Options()
		o.Addr, o.MaxRetries = proxy.Addr(), 2
		client := redis.NewClient(o)
		s := New(client)
		key := server.Prefix() + ":retry"
		do(t, s, store.Op{Key: key}) // the connection is there
		do(t, s, store.Op{Kind: store.Abandon, Key: key + "b"}, store.Op{Kind: store.Fill, Key: key + "b"})
		var lost atomic.Bool
		proxy.OnClientBytes(func(int, []byte) faults.Action {
			if lost.CompareAndSwap(false, true) {
				return faults.CutReply
			}
			return faults.Forward
		})
		r := do(t, s, store.Op{Kind: step.kind, Key: key, Token: tok(1), Value: []byte("v"), TTL: time.Minute})[0]
		if !lost.Load() || proxy.Accepted() < 2 {
			t.Error("no reply was lost")
		}
		if !step.right(r) {
			t.Errorf("operation %d, run twice, answers %+v", step.kind, r)
		}
		_ = client.Close()
	}
}

// TestHungServer: Do returns when its context is done, whatever the client's settings.
func TestHungServer(t *testing.T) {
	server := testenv.NewRedis(t)
	for _, obeys := range []bool{true, false} {
		t.Run(fmt.Sprintf("ContextTimeoutEnabled %v", obeys), func(t *testing.T) {
			o := server.Options()
			o.ContextTimeoutEnabled = obeys
			o.ReadTimeout = 2 * time.Second // how long an abandoned command stays
			client := redis.NewClient(o)
			defer client.Close()
			s := New(client)
			do(t, s, ops(store.Acquire, "hung", 2)...)
			server.Stop()
			defer server.Continue()
			for _, batch := range [][]store.Op{ops(store.Get, "hung", 1), ops(store.Get, "hung", 2), ops(store.Acquire, "hung", 1), ops(store.Intend, "hung", 300)} {
				begin := time.Now()
				ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
				err := s.Do(ctx, batch, make([]store.Reply, len(batch)))
				cancel()
				if took := time.Since(begin); took > time.Second || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrRefused) {
					t.Errorf("%d operations %d: %v after %v", len(batch), batch[0].Kind, err, took)
				}

				// Cancelled long before its deadline.
				begin = time.Now()
				ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
				time.AfterFunc(50*time.Millisecond, cancel)
				err = s.Do(ctx, batch, make([]store.Reply, len(batch)))
				if took := time.Since(begin); took > time.Second || !errors.Is(err, context.Canceled) {
					t.Errorf("%d operations %d, cancelled: %v after %v", len(batch), batch[0].Kind, err, took)
				}
			}
			begin := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if err := s.Check(ctx); err != nil || time.Since(begin) > time.Second {
				t.Errorf("Check: %v after %v", err, time.Since(begin))
			}
		})
	}
}

// TestAbandonedIsBounded: with a hung server the goroutines left behind are as many as there are slots.
func TestAbandonedIsBounded(t *testing.T) {
	server := testenv.NewRedis(t)
	o := server.Options()
	o.ContextTimeoutEnabled, o.ReadTimeout = false, 2*time.Second
	client := redis.NewClient(o)
	defer client.Close()
	s := New(client)
	s.slots = make(chan struct{}, 2)
	do(t, s, store.Op{Key: "k"})
	server.Stop()
	defer server.Continue()
	for range 4 {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		if err := s.Do(ctx, ops(store.Get, "k", 1), make([]store.Reply, 1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		cancel()
	}
	if n := len(s.slots); n != 2 {
		t.Errorf("%d commands are left behind, want 2", n)
	}
}

// TestAbandonedOwnsItsMemory: a command that is left behind and sent later brings what it was given, not what the caller
// has put into its buffers since.
func TestAbandonedOwnsItsMemory(t *testing.T) {
	_, client, _, _ := mini(t)
	s := New(client)
	s.obeys = false
	do(t, s, store.Op{Kind: store.Acquire, Key: "k", Token: tok(1), TTL: time.Hour})
	later := make(hold)
	client.AddHook(later)
	value := []byte("before")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	fill := []store.Op{{Kind: store.Fill, Key: "k", Token: tok(1), Value: value, TTL: time.Hour}}
	replies := make([]store.Reply, 1)
	if err := s.Do(ctx, fill, replies); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	copy(value, "AFTER!")
	fill[0] = store.Op{Kind: store.Invalidate, Key: "k"}
	close(later)
	for begin := time.Now(); ; time.Sleep(time.Millisecond) {
		if r := do(t, s, store.Op{Key: "k"})[0]; r.State == store.Value {
			if string(r.Value) != "before" {
				t.Errorf("stored %q", r.Value)
			}
			break
		}
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the fill never ran")
		}
	}
	if replies[0].State != store.Absent {
		t.Errorf("a call that had returned wrote a reply: %+v", replies[0])
	}
}

// hold keeps commands back until it is closed, whatever their context says.
type hold chan struct{}

func (h hold) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h hold) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		<-h
		return next(context.WithoutCancel(ctx), cmd)
	}
}

func (h hold) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestServerIsAway: neither a refusal nor a reason not to start.
func TestServerIsAway(t *testing.T) {
	server := testenv.NewRedis(t)
	s := New(server.Client(t))
	server.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Check(ctx); err != nil {
		t.Errorf("Check: %v", err)
	}
	begin := time.Now()
	err := s.Do(ctx, ops(store.Get, "k", 1), make([]store.Reply, 1))
	if err == nil || errors.Is(err, store.ErrRefused) || time.Since(begin) > time.Second {
		t.Errorf("Do: %v after %v", err, time.Since(begin))
	}
	server.Start()
	do(t, s, ops(store.Invalidate, "k", 2)...) // with its scripts gone
}

// TestRefused: the server answers reads and will not write.
func TestRefused(t *testing.T) {
	try := func(t *testing.T, s *Store, op store.Op) error {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err := s.Do(ctx, []store.Op{op}, make([]store.Reply, 1))
		if err != nil && !errors.Is(err, store.ErrRefused) {
			t.Errorf("%d: %v is no refusal", op.Kind, err)
		}
		return err
	}
	config := func(t *testing.T, client *redis.Client, name, value string) {
		t.Helper()
		if err := client.ConfigSet(context.Background(), name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	writes := []store.OpKind{store.Acquire, store.AcquireOver, store.Fill, store.Intend, store.Release, store.Invalidate, store.Stamps, store.Enter, store.Leave}
	prepare := func(t *testing.T, s *Store) {
		do(t, s, store.Op{Kind: store.Acquire, Key: "value", Token: tok(1), TTL: time.Hour}, store.Op{Kind: store.Fill, Key: "value", Token: tok(1), Value: []byte("v"), TTL: time.Hour})
		for _, kind := range writes[1:] {
			key := fmt.Sprint("k", kind)
			do(t, s, store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: time.Hour})
		}
		do(t, s, store.Op{Kind: store.Invalidate, Key: fmt.Sprint("k", store.Leave)}, store.Op{Kind: store.Enter, Key: fmt.Sprint("k", store.Leave), Token: tok(1), TTL: time.Hour})
		do(t, s, store.Op{Kind: store.Invalidate, Key: fmt.Sprint("k", store.Stamps)})
		do(t, s, store.Op{Kind: store.Invalidate, Key: fmt.Sprint("k", store.Enter)})
		do(t, s, store.Op{Kind: store.Intend, Key: fmt.Sprint("k", store.AcquireOver), Token: tok(1), TTL: time.Hour}, store.Op{Kind: store.Release, Key: fmt.Sprint("k", store.AcquireOver), Token: tok(1)})
	}
	refusesWrites := func(t *testing.T, s *Store) {
		for _, kind := range writes {
			if try(t, s, store.Op{Kind: kind, Key: fmt.Sprint("k", kind), Token: tok(1), Value: []byte("v"), TTL: time.Hour}) == nil {
				t.Errorf("operation %d was not refused", kind)
			}
		}
	}
	all := func(t *testing.T, s *Store) {
		refusesWrites(t, s)
		if r := do(t, s, store.Op{Key: "value"})[0]; r.State != store.Value {
			t.Errorf("reads are not served: %+v", r)
		}
	}
	t.Run("replicas are missing", func(t *testing.T) {
		client := testenv.NewRedis(t).Client(t)
		s := New(client)
		prepare(t, s)
		config(t, client, "min-replicas-to-write", "1")
		all(t, s)
	})
	t.Run("a replica", func(t *testing.T) {
		client := testenv.NewRedis(t).Client(t)
		s := New(client)
		prepare(t, s)
		config(t, client, "replica-serve-stale-data", "yes")
		if err := client.Do(context.Background(), "replicaof", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		refusesWrites(t, s)
		if err := try(t, s, store.Op{Key: "value"}); err == nil { // it is asked who it is after READONLY, and is not believed
			t.Error("a replica's answer counts")
		}
		if err := s.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "replica") {
			t.Errorf("Check: %v", err)
		}
	})
	// At its memory limit the server goes on to end values, leases and tokens: an invalidation that is refused is a stale
	// value for everybody.
	t.Run("out of memory", func(t *testing.T) {
		client := testenv.NewRedis(t).Client(t)
		s := New(client)
		do(t, s, ops(store.Acquire, "full", 2)...)
		do(t, s, ops(store.Fill, "full", 2)...)
		do(t, s, ops(store.Intend, "two", 1)...)
		do(t, s, store.Op{Kind: store.Intend, Key: "two0", Token: tok(9), TTL: time.Hour})
		do(t, s, store.Op{Kind: store.Enter, Key: "tag", Token: tok(1), TTL: time.Hour}, store.Op{Kind: store.Enter, Key: "tag", Token: tok(2), TTL: time.Hour})
		do(t, s, store.Op{Kind: store.Acquire, Key: "lease", Token: tok(1), TTL: time.Hour})
		config(t, client, "maxmemory-policy", "noeviction")
		config(t, client, "maxmemory", "1")
		for _, kind := range []store.OpKind{store.Acquire, store.Intend, store.Enter, store.Stamps} {
			if try(t, s, store.Op{Kind: kind, Key: fmt.Sprint("new", kind), Token: tok(1), TTL: time.Hour}) == nil {
				t.Errorf("operation %d was not refused", kind)
			}
		}
		for _, op := range []store.Op{
			{Kind: store.Invalidate, Key: "full0"},
			{Kind: store.Release, Key: "full1", Token: tok(3)},
			{Kind: store.Release, Key: "two0", Token: tok(9)},
			{Kind: store.Bump, Key: "tag", Token: tok(5)},
			{Kind: store.Leave, Key: "tag", Token: tok(6)},
			{Kind: store.Leave, Key: "tag", Token: tok(1)},
			{Kind: store.Abandon, Key: "lease", Token: tok(1)},
		} {
			if err := try(t, s, op); err != nil {
				t.Errorf("operation %d on %s: %v", op.Kind, op.Key, err)
			}
		}
		if r := do(t, s, store.Op{Key: "two0"})[0]; r.State != store.Intent {
			t.Errorf("another's token: %+v", r)
		}
	})
	t.Run("no permission", func(t *testing.T) {
		server := testenv.NewRedis(t)
		admin := server.Client(t)
		if err := admin.Do(context.Background(), "acl", "setuser", "app", "on", "nopass", "~other:*", "+@all").Err(); err != nil {
			t.Fatal(err)
		}
		o := server.Options()
		o.Username, o.Password = "app", "any"
		client := redis.NewClient(o)
		defer client.Close()
		s := New(client)
		for _, kind := range []store.OpKind{store.Get, store.Acquire, store.Invalidate} {
			if try(t, s, store.Op{Kind: kind, Key: "mine", Token: tok(1), TTL: time.Hour}) == nil {
				t.Errorf("operation %d was not refused", kind)
			}
		}
	})
	for _, code := range refusals {
		if !refused(failure(context.Background(), redisError(code+" because"))) {
			t.Errorf("%s is not a refusal", code)
		}
	}
	for _, err := range []error{nil, io.EOF, redis.Nil, redisError("ERR unknown command"), redisError("BUSYKEY x"), errors.New("OOM text of somebody else")} {
		if refused(err) {
			t.Errorf("%v is a refusal", err)
		}
	}
}

// TestSocketTimer: the socket's timer is a moment ahead of the context's, and the error is the context's all the same.
func TestSocketTimer(t *testing.T) {
	err := failure(overButNotDone{context.Background()}, io.EOF)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

type overButNotDone struct{ context.Context }

func (overButNotDone) Deadline() (time.Time, bool) { return time.Now(), true }

type redisError string

func (e redisError) Error() string { return string(e) }
func (redisError) RedisError()     {}

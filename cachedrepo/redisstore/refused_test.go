package redisstore

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
)

// TestErrorClasses: what each answer says about the server that gave it. A refusal ends the trust in it at once, for reads
// too; one that is full is trusted as long as it takes invalidations; the rest count as silence, and three in a row end the
// trust. What that comes to is in TestErrorsOfServers of cachedrepo.
func TestErrorClasses(t *testing.T) {
	const silence, refusal, full = "silence", "refusal", "full"
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for _, tt := range []struct {
		err   error
		ctx   context.Context
		class string
	}{
		{err: redisError("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk."), class: refusal},
		{err: redisError("NOREPLICAS Not enough good replicas to write."), class: refusal},
		{err: redisError("READONLY You can't write against a read only replica."), class: refusal},
		{err: redisError("OOM command not allowed when used memory > 'maxmemory'."), class: full},
		{err: redisError("LOADING Redis is loading the dataset in memory"), class: refusal},
		{err: redisError("BUSY Redis is busy running a script."), class: refusal},
		{err: redisError("CLUSTERDOWN Hash slot not served"), class: refusal},
		{err: redisError("TRYAGAIN Multiple keys request during rehashing of slot"), class: refusal},
		{err: redisError("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'."), class: refusal},
		{err: redisError("NOAUTH Authentication required."), class: refusal},
		{err: redisError("WRONGPASS invalid username-password pair or user is disabled."), class: refusal},
		{err: redisError("NOPERM this user has no permissions to run the 'set' command"), class: refusal},
		{err: redisError("ERR The user executing the script can't run this command or subcommand script: 15a6"), class: refusal},
		{err: redisError("MOVED 1 127.0.0.1:6380"), class: silence}, // after too many hops
		{err: redisError("ASK 1 127.0.0.1:6380"), class: silence},
		{err: redisError("NOSCRIPT No matching script."), class: silence},
		{err: redisError("ERR unknown command 'EVALSHA'"), class: silence},
		{err: io.EOF, class: silence},
		{err: redis.ErrPoolTimeout, class: silence},
		{err: redis.ErrPoolExhausted, class: silence},
		{err: redis.ErrClosed, class: silence},
		{err: context.DeadlineExceeded, ctx: ended, class: silence},
	} {
		ctx := tt.ctx
		if ctx == nil {
			ctx = context.Background()
		}
		err := failure(ctx, tt.err)
		class := silence
		if errors.Is(err, store.ErrRefused) {
			class = refusal
		}
		if errors.Is(err, store.ErrFull) {
			class = full
		}
		if class != tt.class || !errors.Is(err, tt.err) {
			t.Errorf("%v: %s (%v), want %s", tt.err, class, err, tt.class)
		}
	}
}

// TestAnswersOfServers makes real servers say it.
func TestAnswersOfServers(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	try := func(t *testing.T, s *Store, op store.Op) error {
		t.Helper()
		op.Key, op.Token, op.TTL = "k", tok(1), time.Hour
		call, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		return s.Do(call, []store.Op{op}, make([]store.Reply, 1))
	}
	kinds := []store.OpKind{store.Get, store.Acquire, store.Invalidate}
	t.Run("BUSY", func(t *testing.T) {
		server := testenv.NewRedis(t, "--busy-reply-threshold", "10")
		admin := server.Client(t)
		s := New(server.Client(t))
		done := make(chan struct{})
		go func() {
			defer close(done)
			long, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			_ = server.Client(t).Eval(long, "while true do end", nil).Err()
		}()
		for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			if err := admin.Ping(ctx).Err(); err != nil && is(err, "BUSY") {
				break
			}
			if time.Since(begin) > 10*time.Second {
				t.Fatal("the server is not busy")
			}
		}
		for _, kind := range kinds {
			if err := try(t, s, store.Op{Kind: kind}); !errors.Is(err, store.ErrRefused) {
				t.Errorf("operation %d: %v", kind, err)
			}
		}
		if err := admin.ScriptKill(ctx).Err(); err != nil {
			t.Error(err)
		}
		<-done
	})
	t.Run("NOAUTH", func(t *testing.T) {
		server := testenv.NewRedis(t)
		if err := server.Client(t).ConfigSet(ctx, "requirepass", "secret").Err(); err != nil {
			t.Fatal(err)
		}
		s := New(server.Client(t))
		for _, kind := range kinds {
			if err := try(t, s, store.Op{Kind: kind}); !errors.Is(err, store.ErrRefused) {
				t.Errorf("operation %d: %v", kind, err)
			}
		}
	})
	t.Run("MASTERDOWN", func(t *testing.T) {
		server := testenv.NewRedis(t, "--replica-serve-stale-data", "no")
		if err := server.Client(t).Do(ctx, "replicaof", "127.0.0.1", "1").Err(); err != nil {
			t.Fatal(err)
		}
		s := New(server.Client(t))
		for _, kind := range kinds {
			if err := try(t, s, store.Op{Kind: kind}); !errors.Is(err, store.ErrRefused) {
				t.Errorf("operation %d: %v", kind, err)
			}
		}
	})
	t.Run("CLUSTERDOWN", func(t *testing.T) {
		server := testenv.NewRedis(t, "--cluster-enabled", "yes") // without slots
		s := New(server.Client(t))
		for _, kind := range kinds {
			if err := try(t, s, store.Op{Kind: kind}); !errors.Is(err, store.ErrRefused) {
				t.Errorf("operation %d: %v", kind, err)
			}
		}
	})
	t.Run("MOVED", func(t *testing.T) { // a client of one server in front of a cluster
		cluster := testenv.RedisCluster(t)
		moved := 0
		for _, addr := range cluster.Addrs() {
			o := &redis.Options{Addr: addr}
			Tune(o)
			client := redis.NewClient(o)
			err := try(t, New(client), store.Op{})
			if err != nil && is(err, "MOVED") && !errors.Is(err, store.ErrRefused) {
				moved++
			}
			_ = client.Close()
		}
		if moved != 2 {
			t.Errorf("%d of 3 servers have moved it", moved)
		}
	})
}

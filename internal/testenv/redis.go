package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/asidego/aside/internal/localserver"
)

// RedisServer is a Redis and the part of its keys that belongs to one test.
type RedisServer struct {
	options *redis.Options
	prefix  string
}

var prefixes atomic.Int64

func newRedisServer(options *redis.Options) *RedisServer {
	return &RedisServer{options: options, prefix: fmt.Sprintf("%s_r%d", runID, prefixes.Add(1))}
}

// sharedRedis starts the shared server, or finds the one that the environment
// names, once per process.
var sharedRedis = sync.OnceValues(func() (*redis.Options, error) {
	if text := os.Getenv("ASIDE_TEST_REDIS"); text != "" {
		options, err := redis.ParseURL(text)
		if err != nil {
			return nil, fmt.Errorf("ASIDE_TEST_REDIS: %w", err)
		}
		return options, nil
	}
	server, err := localserver.StartRedis(context.Background(), localserver.Options{})
	if err != nil {
		return nil, err
	}
	closeAtEnd(server.Close)
	return &redis.Options{Addr: server.Addr()}, nil
})

// Redis returns the process's shared server. Tests are kept apart by Prefix
// alone: whoever counts commands, flushes or lists all keys needs NewRedis.
func Redis(t TB) *RedisServer {
	t.Helper()
	options, err := sharedRedis()
	r := newRedisServer(must(t, options, err))
	if os.Getenv("ASIDE_TEST_REDIS") != "" {
		t.Cleanup(func() { check(t, r.deleteKeys()) })
	}
	return r
}

// Addr returns the server's "host:port".
func (r *RedisServer) Addr() string { return r.options.Addr }

// Prefix returns a name that no other test has, to be used as a namespace: the
// keys of the test are Prefix + ":" + something.
func (r *RedisServer) Prefix() string { return r.prefix }

// Options returns what a client in front of a database should have: it obeys
// the caller's deadline, and does not try again on its own. The caller may
// change the copy.
func (r *RedisServer) Options() *redis.Options {
	options := *r.options
	options.ContextTimeoutEnabled = true
	options.MaxRetries = -1
	options.DialerRetries = 1
	// Commands that the test did not send would disturb those that count.
	options.DisableIdentity = true
	options.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return &options
}

// Client returns a client with Options, closed when the test ends.
func (r *RedisServer) Client(t TB) *redis.Client {
	t.Helper()
	client := redis.NewClient(r.Options())
	t.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			check(t, err)
		}
	})
	return client
}

// deleteKeys removes the test's keys from a server that outlives the tests.
func (r *RedisServer) deleteKeys() error {
	ctx, cancel := context.WithTimeout(context.Background(), ddlTimeout)
	defer cancel()
	client := redis.NewClient(r.Options())
	defer client.Close()
	keys := client.Scan(ctx, 0, r.prefix+":*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
			return err
		}
	}
	return keys.Err()
}

// OwnRedis is a Redis server that belongs to one test.
type OwnRedis struct {
	*RedisServer
	control
}

// NewRedis starts a server for one test, which may stop, kill, restart and
// configure it; it takes some 20 ms. args go to the server's program:
// "--maxmemory", "10mb".
func NewRedis(t TB, args ...string) *OwnRedis {
	t.Helper()
	server, err := localserver.StartRedis(context.Background(), localserver.Options{Args: args})
	server = must(t, server, err)
	t.Cleanup(func() { check(t, server.Close()) })
	return &OwnRedis{
		RedisServer: newRedisServer(&redis.Options{Addr: server.Addr()}),
		control:     control{t: t, server: server.Server},
	}
}

// Commands returns how often each command was called since the server started
// or ResetCommands, in lower case, as "get" or "client|setinfo".
func (r *OwnRedis) Commands(t TB) map[string]int {
	t.Helper()
	var text string
	r.admin(t, func(ctx context.Context, client *redis.Client) (err error) {
		text, err = client.Info(ctx, "commandstats").Result()
		return err
	})
	counts := map[string]int{}
	for line := range strings.Lines(text) {
		var calls int
		name, rest, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "cmdstat_"), ":")
		if !ok {
			continue
		}
		if _, err := fmt.Sscanf(rest, "calls=%d", &calls); err == nil {
			counts[name] = calls
		}
	}
	return counts
}

// ResetCommands sets the counts of Commands back to nothing. What it takes to
// ask and to reset is counted too: hello, info and config|resetstat.
func (r *OwnRedis) ResetCommands(t TB) {
	t.Helper()
	r.admin(t, func(ctx context.Context, client *redis.Client) error {
		return client.ConfigResetStat(ctx).Err()
	})
}

// admin runs something on a connection of its own.
func (r *OwnRedis) admin(t TB, do func(context.Context, *redis.Client) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client := redis.NewClient(r.Options())
	defer client.Close()
	check(t, do(ctx, client))
}

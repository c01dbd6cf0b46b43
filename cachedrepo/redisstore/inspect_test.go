package redisstore

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/internal/testenv"
)

// codes prints findings as "severity code object".
func codes(l []finding.Finding) string {
	var out []string
	for _, f := range l {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Severity, f.Code, f.Object)))
		if f.Text == "" || f.Advice == "" || f.Table != "" {
			out = append(out, fmt.Sprintf("incomplete: %+v", f))
		}
	}
	return strings.Join(out, ", ")
}

func tuned(t *testing.T, addr string) *redis.Client {
	t.Helper()
	o := &redis.Options{Addr: addr}
	Tune(o)
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestInspectServer(t *testing.T) {
	server := testenv.NewRedis(t)
	ctx := context.Background()
	client := tuned(t, server.Addr())
	s := New(client)
	set := func(name, value string) {
		t.Helper()
		if err := client.ConfigSet(ctx, name, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct{ name, value, back, want string }{
		{"maxmemory-policy", "volatile-lru", "noeviction", ""},
		{"maxmemory-policy", "allkeys-lru", "noeviction", "warn redis-policy maxmemory-policy"},
		{"maxmemory", "100mb", "0", "note redis-policy maxmemory-policy"},
		{"min-replicas-to-write", "1", "0", "warn redis-writes min-replicas-to-write"},
	} {
		set(test.name, test.value)
		if got := codes(s.Inspect(ctx)); got != test.want {
			t.Errorf("%s %s: %s, want %q", test.name, test.value, got, test.want)
		}
		set(test.name, test.back)
		if got := codes(s.Inspect(ctx)); got != "" {
			t.Errorf("%s %s: %s", test.name, test.back, got)
		}
	}
	if err := client.Do(ctx, "replicaof", "127.0.0.1", "1").Err(); err != nil {
		t.Fatal(err)
	}
	if got := codes(s.Inspect(ctx)); got != "refuse redis-role" {
		t.Errorf("a replica: %s", got)
	}
}

// Answers that a real server here does not give.
func TestInspectInventedServers(t *testing.T) {
	for name, test := range map[string]struct {
		info map[string]string
		want string
	}{
		"old":       {map[string]string{"redis_version": "6.2.14", "role": "master"}, "warn redis-version"},
		"new":       {map[string]string{"redis_version": "8.0.1"}, ""},
		"disk full": {map[string]string{"rdb_last_bgsave_status": "err"}, "warn redis-writes rdb_last_bgsave_status"},
		"no append": {map[string]string{"aof_enabled": "1", "aof_last_write_status": "err"}, "warn redis-writes aof_last_write_status"},
		"append":    {map[string]string{"aof_enabled": "1", "aof_last_write_status": "ok"}, ""},
	} {
		if got := codes(inspectServer(context.Background(), invented{info: test.info})); got != test.want {
			t.Errorf("%s: %s, want %q", name, got, test.want)
		}
	}
	for _, skew := range []time.Duration{-3 * time.Second, 3 * time.Second, time.Hour} {
		if got := codes(inspectServer(context.Background(), invented{skew: skew})); got != "warn redis-clock" {
			t.Errorf("%s: %s", skew, got)
		}
	}
	for _, skew := range []time.Duration{-time.Second, 0, time.Second} {
		if got := codes(inspectServer(context.Background(), invented{skew: skew})); got != "" {
			t.Errorf("%s: %s", skew, got)
		}
	}
}

// invented is a server of which only the answers below are asked for.
type invented struct {
	redis.Cmdable
	info map[string]string
	skew time.Duration
}

func (i invented) Ping(context.Context) *redis.StatusCmd { return redis.NewStatusResult("PONG", nil) }

func (i invented) Info(context.Context, ...string) *redis.StringCmd {
	var b strings.Builder
	for k, v := range i.info {
		b.WriteString(k + ":" + v + "\r\n")
	}
	return redis.NewStringResult(b.String(), nil)
}

func (i invented) ConfigGet(context.Context, string) *redis.MapStringStringCmd {
	return redis.NewMapStringStringResult(nil, fmt.Errorf("NOPERM"))
}

func (i invented) Time(context.Context) *redis.TimeCmd {
	return redis.NewTimeCmdResult(time.Now().Add(i.skew), nil)
}

// A server that allows little, or is not there.
func TestInspectWithLittle(t *testing.T) {
	mini := miniredis.RunT(t) // knows neither most of INFO nor CONFIG
	if got := codes(New(tuned(t, mini.Addr())).Inspect(context.Background())); got != "" {
		t.Error(got)
	}
	if got := codes(New(tuned(t, "127.0.0.1:1")).Inspect(context.Background())); got != "warn redis-unreachable" {
		t.Error(got)
	}
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}})
	defer ring.Close()
	if got := codes(New(ring).Inspect(context.Background())); got != "refuse redis-client" {
		t.Error(got)
	}
	plain := redis.NewClient(&redis.Options{Addr: mini.Addr()})
	defer plain.Close()
	if got := codes(New(plain).Inspect(context.Background())); got != "warn redis-client, warn redis-client, warn redis-client" {
		t.Error(got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if got := codes(New(tuned(t, mini.Addr())).Inspect(ctx)); got != "warn redis-unreachable" {
		t.Error(got)
	}
}

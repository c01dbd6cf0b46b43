package redisstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/cachedrepo/storetest"
	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// miniClient is a client of an in-process server whose clock stands still.
func mini(t *testing.T) (*miniredis.Miniredis, *redis.Client, func(time.Duration), func() time.Time) {
	t.Helper()
	server := miniredis.RunT(t)
	var mu sync.Mutex
	now := time.UnixMilli(1_700_000_000_000)
	server.SetTime(now)
	o := &redis.Options{
		Addr: server.Addr(), DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	Tune(o)
	o.ReadTimeout, o.WriteTimeout = time.Minute, time.Minute // it is slow
	client := redis.NewClient(o)
	t.Cleanup(func() { _ = client.Close() })
	advance := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
		server.SetTime(now)
		server.FastForward(d)
	}
	return server, client, advance, func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
}

// entry reads a key as the script does, without the script.
func entry(t *testing.T, client redis.UniversalClient, now func() time.Time, key string) store.Entry {
	t.Helper()
	ctx := context.Background()
	raw, err := client.Get(ctx, key).Result()
	if err == redis.Nil {
		return store.Entry{}
	}
	if err != nil {
		t.Fatal(err)
	}
	left, err := client.Do(ctx, "pttl", key).Int64()
	if err != nil {
		t.Fatal(err)
	}
	e := store.Entry{Expires: now().UnixMilli() + left}
	if left < 0 {
		e.Expires = now().Add(time.Hour).UnixMilli() // tokens that carry no Redis expiry
	}
	payload := raw[2:]
	switch raw[:2] {
	case "V1":
		e.State, e.Value, payload = store.Value, []byte(payload), ""
	case "L1":
		e.State = store.Lease
	case "G1":
		e.State = store.Generation
	case "I1":
		e.State = store.Intent
	default:
		t.Fatalf("key %q holds %q", key, raw)
	}
	if e.State == store.Lease || e.State == store.Generation {
		e.Token = store.Token([]byte(payload[:16]))
		payload = payload[16:]
	}
	for ; payload != ""; payload = payload[24:] {
		e.Writers = append(e.Writers, store.Writer{
			Token:    store.Token([]byte(payload[:16])),
			Deadline: int64(binary.BigEndian.Uint64([]byte(payload[16:24]))),
		})
	}
	return e
}

func TestStore(t *testing.T) {
	t.Run("miniredis", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, func(t *testing.T) storetest.Harness {
			_, client, advance, now := mini(t)
			return storetest.Harness{
				Store: New(client), Prefix: "p:", Advance: advance, Now: now,
				Peek: func(key string) store.Entry { return entry(t, client, now, key) },
			}
		})
	})
	real := func(tune func(*redis.Options), set func(*Store)) func(t *testing.T) storetest.Harness {
		return func(t *testing.T) storetest.Harness {
			server := testenv.Redis(t)
			o := server.Options()
			tune(o)
			client := redis.NewClient(o)
			t.Cleanup(func() { _ = client.Close() })
			s := New(client)
			set(s)
			return storetest.Harness{
				Store: s, Prefix: server.Prefix() + ":",
				Peek: func(key string) store.Entry { return entry(t, client, time.Now, key) },
			}
		}
	}
	asItIs := func(*redis.Options) {}
	t.Run("redis", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, real(asItIs, func(*Store) {}))
	})
	t.Run("redis, tokens without an expiry", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, real(asItIs, func(s *Store) { s.persist.Store(true) }))
	})
	t.Run("redis, one key a command", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, real(asItIs, func(s *Store) { s.cluster = true }))
	})
	t.Run("redis, without SET NX GET", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, real(asItIs, func(s *Store) { s.noSetGet.Store(true) }))
	})
	t.Run("redis, client with its defaults", func(t *testing.T) {
		t.Parallel()
		storetest.Run(t, real(func(o *redis.Options) {
			o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries = false, 0, 0
		}, func(*Store) {}))
	})
}

func tok(b byte) store.Token { return store.Token(bytes.Repeat([]byte{b}, 16)) }

func do(t *testing.T, s store.Store, ops ...store.Op) []store.Reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	replies := make([]store.Reply, len(ops))
	if err := s.Do(ctx, ops, replies); err != nil {
		t.Fatal(err)
	}
	return replies
}

// TestBytes pins what stands in Redis. If it fails, entries and tokens of the released version are not understood any
// more: raise the format and give the new one a namespace of its own.
func TestBytes(t *testing.T) {
	server, client, _, _ := mini(t) // at 1,700,000,000,000 ms
	s := New(client)
	a, b := strings.Repeat("a", 16), strings.Repeat("b", 16)
	const minute, hour = "\x00\x00\x01\x8b\xcf\xe6\x52\x60", "\x00\x00\x01\x8b\xd0\x1c\x56\x80"
	op := func(kind store.OpKind, token byte, ttl time.Duration) store.Op {
		return store.Op{Kind: kind, Key: "k", Token: tok(token), Value: []byte("row\x00"), TTL: ttl}
	}
	const n = "=Z\xc2c\x883A\x82\x93d\xaf;\x0a\xfa>\xee" // SHA-1 of 16 a, 16 zero bytes and "1700000000.0"
	for _, tt := range []struct {
		name string
		ops  []store.Op
		want string
		ttl  time.Duration
	}{
		{"lease", []store.Op{op(store.Acquire, 'a', time.Second)}, "L1" + a, time.Second},
		{"value", []store.Op{op(store.Acquire, 'a', 1), op(store.Fill, 'a', time.Minute)}, "V1row\x00", time.Minute},
		{
			"intent",
			[]store.Op{op(store.Intend, 'b', time.Hour), op(store.Intend, 'a', time.Minute)},
			"I1" + a + minute + b + hour, time.Hour,
		},
		{"generation", []store.Op{op(store.Stamps, 'a', time.Minute)}, "G1" + n, time.Minute},
		{"held generation", []store.Op{op(store.Enter, 'a', time.Minute)}, "G1" + n + a + minute, time.Minute},
	} {
		server.FlushAll()
		do(t, s, tt.ops...)
		if got, _ := server.Get("k"); got != tt.want {
			t.Errorf("%s is\n%q, want\n%q", tt.name, got, tt.want)
		}
		if got := server.TTL("k"); got != tt.ttl {
			t.Errorf("%s lives for %v, want %v", tt.name, got, tt.ttl)
		}
	}
}

// TestNonce: Lua and Go agree about microseconds too.
func TestNonce(t *testing.T) {
	server, client, _, _ := mini(t)
	s := New(client)
	for _, us := range []int64{1, 99, 123_456, 999_999} {
		now := time.UnixMicro(1_700_000_000_000_000 + us)
		server.SetTime(now)
		server.FlushAll()
		var e store.Entry
		for _, op := range []store.Op{
			{Kind: store.Stamps, Token: tok(1), TTL: time.Hour},
			{Kind: store.Enter, Token: tok(2), TTL: time.Hour},
			{Kind: store.Bump, Token: tok(0xff), TTL: time.Hour},
		} {
			op.Key = "g"
			var want store.Reply
			e, want = store.Step(e, op, now)
			if got := do(t, s, op)[0]; got.Token != want.Token {
				t.Errorf("%v at %d µs: nonce %x, want %x", op.Kind, us, got.Token, want.Token)
			}
		}
	}
}

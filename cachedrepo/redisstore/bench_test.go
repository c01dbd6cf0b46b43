package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
)

// BenchmarkHit is the store's share of a hit: compare it with the bare GET beside it.
func BenchmarkHit(b *testing.B) {
	server := testenv.Redis(b)
	client := server.Client(b)
	s := New(client)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	key := server.Prefix() + ":k"
	put := []store.Op{
		{Kind: store.Acquire, Key: key, TTL: time.Hour},
		{Kind: store.Fill, Key: key, Value: make([]byte, 300), TTL: time.Hour},
	}
	if err := s.Do(ctx, put, make([]store.Reply, 2)); err != nil {
		b.Fatal(err)
	}
	b.Run("get", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			if _, err := client.Get(ctx, key).Bytes(); err != nil {
				b.Fatal(err)
			}
			cancel()
		}
	})
	b.Run("store", func(b *testing.B) {
		ops := []store.Op{{Key: key}}
		replies := make([]store.Reply, 1)
		b.ReportAllocs()
		for b.Loop() {
			ctx, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			if err := s.Do(ctx, ops, replies); err != nil {
				b.Fatal(err)
			}
			cancel()
		}
	})
}

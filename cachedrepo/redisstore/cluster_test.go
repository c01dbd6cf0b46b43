package redisstore

import (
	"context"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/cachedrepo/storetest"
	"github.com/asidego/aside/internal/testenv"
)

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := testenv.NewRedisCluster(t)
	client := cluster.Client(t)
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
	admin := cluster.Masters[0].Client(t)
	if err := admin.ScriptFlush(context.Background()).Err(); err != nil {
		t.Fatal(err)
	}
	for _, n := range cluster.Masters {
		n.ResetCommands(t)
	}
	for i, r := range do(t, s, ops(store.Release, "slot", 100)...) {
		if r.Lost || r.State != store.Absent {
			t.Errorf("release %d: %+v", i, r)
		}
	}
	first, second, third := cluster.Masters[0].Commands(t), cluster.Masters[1].Commands(t), cluster.Masters[2].Commands(t)
	if first["eval"] != 1 || second["eval"]+third["eval"] != 0 || (first["evalsha"]+1)/2+second["evalsha"]+third["evalsha"] != 100 {
		t.Errorf("%d, %d and %d evalsha, %d, %d and %d eval",
			first["evalsha"], second["evalsha"], third["evalsha"], first["eval"], second["eval"], third["eval"])
	}
}

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
)

// With one replica acknowledging, everything goes on as without; when it stands still intents are refused, and what comes
// after a COMMIT is done and counted.
func TestAcks(t *testing.T) {
	t.Parallel()
	a := testenv.NewRedis(t)
	b := testenv.NewRedisReplica(t, a)
	s := NewWith(a.Client(t), Config{Acks: 1, AckTimeout: 5 * time.Second})
	ctx := context.Background()
	one := func(op store.Op) (store.Reply, error) {
		replies := make([]store.Reply, 1)
		err := s.Do(ctx, []store.Op{op}, replies)
		return replies[0], err
	}
	for n := range 2 { // the second time the script is there
		if r, err := one(store.Op{Kind: store.Intend, Key: "k", Token: tok(1), TTL: time.Hour}); err != nil || r.State != store.Intent {
			t.Fatalf("%d: intend: %+v, %v", n, r, err)
		}
		if v := b.Client(t).Exists(ctx, "k").Val(); v != 1 {
			t.Errorf("%d: the replica does not have it", n)
		}
		if r, err := one(store.Op{Kind: store.Release, Key: "k", Token: tok(1)}); err != nil || r.State != store.Absent || r.Lost {
			t.Fatalf("%d: release: %+v, %v", n, r, err)
		}
	}
	put(t, s, "v", "old")
	if n := s.Unacknowledged(); n != 0 {
		t.Errorf("%d operations are not acknowledged", n)
	}

	b.Stop()
	s.cfg.AckTimeout = 20 * time.Millisecond
	if r, err := one(store.Op{Kind: store.Intend, Key: "k", Token: tok(2), TTL: time.Hour}); !errors.Is(err, store.ErrUnacknowledged) {
		t.Errorf("intend: %+v, %v", r, err)
	}
	if r, err := one(store.Op{Kind: store.Release, Key: "k", Token: tok(2)}); err != nil || r.Lost {
		t.Errorf("release: %+v, %v", r, err)
	}
	if r, err := one(store.Op{Kind: store.Invalidate, Key: "v"}); err != nil || r.State != store.Absent {
		t.Errorf("invalidate: %+v, %v", r, err)
	}
	// It is gone on the master already; the replica has not heard of that.
	if _, err := one(store.Op{Kind: store.Invalidate, Key: "v"}); err != nil {
		t.Error(err)
	}
	if n := s.Unacknowledged(); n != 4 {
		t.Errorf("%d operations are not acknowledged, want 4", n)
	}
	b.Continue()
}

// A batch over a Cluster is acknowledged by each master's replica: one that stands still is missed, wherever its keys are in
// the batch.
func TestAcksOfACluster(t *testing.T) {
	t.Parallel()
	servers := testenv.NewRedisCluster(t)
	servers.AddReplicas(t)
	s := NewWith(servers.Client(t), Config{Acks: 1, AckTimeout: 5 * time.Second})
	ctx := context.Background()
	var batch []store.Op
	for i := range 12 {
		batch = append(batch, store.Op{Kind: store.Intend, Key: fmt.Sprint("k", i), Token: tok(1), TTL: time.Hour})
	}
	if err := s.Do(ctx, batch, make([]store.Reply, len(batch))); err != nil {
		t.Fatal(err)
	}
	for i, m := range servers.Masters {
		mine := 0
		for _, op := range batch {
			if s.Node(op.Key) == m.Addr() {
				mine++
			}
		}
		if mine == 0 || mine == len(batch) {
			t.Fatalf("%d keys on %s", mine, m.Addr())
		}
		servers.Replicas[i].Stop()
		s.cfg.AckTimeout = 20 * time.Millisecond
		if err := s.Do(ctx, batch, make([]store.Reply, len(batch))); !errors.Is(err, store.ErrUnacknowledged) {
			t.Errorf("without the replica of %s: %v", m.Addr(), err)
		}
		release := slices.Clone(batch)
		for k := range release {
			release[k].Kind = store.Release
		}
		before := s.Unacknowledged()
		if err := s.Do(ctx, release, make([]store.Reply, len(batch))); err != nil {
			t.Error(err)
		}
		if n := s.Unacknowledged() - before; n != uint64(mine) {
			t.Errorf("%d releases are not acknowledged, want %d", n, mine)
		}
		servers.Replicas[i].Continue()
		s.cfg.AckTimeout = 5 * time.Second
		if err := s.Do(ctx, batch, make([]store.Reply, len(batch))); err != nil {
			t.Error(err)
		}
	}
}

package testenv

import (
	"context"
	"testing"
	"time"
)

func TestReplicaAndSentinels(t *testing.T) {
	t.Parallel()
	a := NewRedis(t)
	b := NewRedisReplica(t, a)
	s := NewSentinels(t, a, 1)
	client := s.Client(t)
	ctx := context.Background()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	a.Kill()
	check(t, poll(func(ctx context.Context) error { return client.Set(ctx, "k", "w", 0).Err() }))
	if at := s.Master(t); at != b.Addr() {
		t.Errorf("the master is %s", at)
	}
	if role := b.Info(t, "role"); role != "master" {
		t.Errorf("the replica is a %s", role)
	}
}

func TestClusterReplicas(t *testing.T) {
	t.Parallel()
	c := NewRedisCluster(t)
	c.AddReplicas(t)
	client := c.Client(t)
	ctx := context.Background()
	if err := client.Set(ctx, "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	master, err := client.MasterForKey(ctx, "k")
	check(t, err)
	for i, m := range c.Masters {
		if m.Addr() == master.Options().Addr {
			m.Kill()
			c.Replicas[i].Promote(t)
		}
	}
	check(t, poll(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		client.ReloadState(ctx) // a client that meets the dead master alone looks anew after a minute
		return client.Set(ctx, "k", "w", 0).Err()
	}))
}

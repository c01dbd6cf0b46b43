package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/internal/localserver"
)

// NewRedisReplica starts a replica of master for one test, and returns when it
// has what the master has.
func NewRedisReplica(t TB, master *OwnRedis, args ...string) *OwnRedis {
	t.Helper()
	host, port, err := net.SplitHostPort(master.Addr())
	check(t, err)
	master.admin(t, func(ctx context.Context, c *redis.Client) error {
		return c.ConfigSet(ctx, "repl-diskless-sync-delay", "0").Err()
	})
	replica := NewRedis(t, append([]string{"--replicaof", host, port}, args...)...)
	check(t, poll(func(ctx context.Context) error { return linked(ctx, replica) }))
	return replica
}

// Info returns one field of the server's INFO replication.
func (r *OwnRedis) Info(t TB, field string) (value string) {
	t.Helper()
	r.admin(t, func(ctx context.Context, c *redis.Client) (err error) {
		value, err = replication(ctx, c, field)
		return err
	})
	return value
}

func replication(ctx context.Context, c *redis.Client, field string) (string, error) {
	text, err := c.Info(ctx, "replication").Result()
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), field+":"); ok {
			return value, nil
		}
	}
	return "", err
}

func linked(ctx context.Context, r *OwnRedis) error {
	c := redis.NewClient(r.Options())
	defer c.Close()
	status, err := replication(ctx, c, "master_link_status")
	if err == nil && status != "up" {
		err = fmt.Errorf("replica %s: the link to its master is %q", r.Addr(), status)
	}
	return err
}

// poll calls ready until it returns nil, for half a minute.
func poll(ready func(ctx context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil || ctx.Err() != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Sentinels are three Redis Sentinels that watch one master.
type Sentinels struct {
	addrs []string
}

// NewSentinels starts three Sentinels for one test, which fail the master over
// to one of its replicas when it has been away for half a second. It returns
// when they know each other and the replicas, after some seconds.
func NewSentinels(t TB, master *OwnRedis, replicas int) *Sentinels {
	t.Helper()
	s := &Sentinels{}
	for range 3 {
		server, err := localserver.StartSentinel(context.Background(), master.Addr())
		server = must(t, server, err)
		t.Cleanup(func() { check(t, server.Close()) })
		s.addrs = append(s.addrs, server.Addr())
	}
	for _, addr := range s.addrs {
		check(t, poll(func(ctx context.Context) error {
			c := redis.NewSentinelClient(&redis.Options{Addr: addr, DisableIdentity: true})
			defer c.Close()
			m, err := c.Master(ctx, localserver.SentinelName).Result()
			if err == nil && (m["num-other-sentinels"] != "2" || m["num-slaves"] != fmt.Sprint(replicas)) {
				err = fmt.Errorf("sentinel %s knows %s others and %s replicas", addr, m["num-other-sentinels"], m["num-slaves"])
			}
			return err
		}))
	}
	return s
}

// Options are those of RedisServer.Options for a client that asks the
// Sentinels where the master is.
func (s *Sentinels) Options() *redis.FailoverOptions {
	return &redis.FailoverOptions{
		MasterName: localserver.SentinelName, SentinelAddrs: s.addrs,
		ContextTimeoutEnabled: true, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true,
	}
}

// Client returns a client with Options, closed when the test ends.
func (s *Sentinels) Client(t TB) *redis.Client {
	t.Helper()
	client := redis.NewFailoverClient(s.Options())
	t.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			check(t, err)
		}
	})
	return client
}

// Master returns the address of the master, as the Sentinels agree on it.
func (s *Sentinels) Master(t TB) (addr string) {
	t.Helper()
	check(t, poll(func(ctx context.Context) error {
		addr = ""
		for _, at := range s.addrs {
			c := redis.NewSentinelClient(&redis.Options{Addr: at, DisableIdentity: true})
			master, err := c.GetMasterAddrByName(ctx, localserver.SentinelName).Result()
			_ = c.Close()
			if err != nil {
				return err
			}
			is := net.JoinHostPort(master[0], master[1])
			if addr != "" && addr != is {
				return fmt.Errorf("the sentinels do not agree: %s or %s", addr, is)
			}
			addr = is
		}
		return nil
	}))
	return addr
}

// Promote makes a replica of a cluster the master of its slots without asking
// the others: what they come to by themselves when its master is dead, after
// the node timeout and some more seconds.
func (r *OwnRedis) Promote(t TB) {
	t.Helper()
	r.admin(t, func(ctx context.Context, c *redis.Client) error {
		return c.Do(ctx, "cluster", "failover", "takeover").Err()
	})
	check(t, poll(func(ctx context.Context) error {
		if role := r.Info(t, "role"); role != "master" {
			return fmt.Errorf("%s is a %s", r.Addr(), role)
		}
		return nil
	}))
}

// AddReplicas gives each master of the cluster a replica, and returns when they
// have what their masters have and all nodes know it.
func (c *OwnCluster) AddReplicas(t TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ddlTimeout)
	defer cancel()
	all := slices.Clone(c.Masters)
	clients := map[*OwnRedis]*redis.Client{}
	add := func(s *OwnRedis) {
		clients[s] = redis.NewClient(s.Options())
		t.Cleanup(func() { _ = clients[s].Close() })
	}
	for _, m := range c.Masters {
		add(m)
		check(t, clients[m].ConfigSet(ctx, "repl-diskless-sync-delay", "0").Err())
		// A replica that has not been sent anything is not shown, and a ping is something.
		check(t, clients[m].ConfigSet(ctx, "repl-ping-replica-period", "1").Err())
	}
	for range c.Masters {
		replica := NewRedis(t, "--cluster-enabled", "yes", "--cluster-node-timeout", nodeTimeout, "--cluster-require-full-coverage", "no")
		add(replica)
		for _, other := range all { // as gossip takes its time
			host, port, err := net.SplitHostPort(other.Addr())
			check(t, err)
			check(t, clients[replica].ClusterMeet(ctx, host, port).Err())
		}
		all = append(all, replica)
		c.Replicas = append(c.Replicas, replica)
	}
	for _, s := range all { // they talk as often as they must
		check(t, clients[s].ConfigSet(ctx, "cluster-node-timeout", "300").Err())
	}
	for i, replica := range c.Replicas {
		id, err := clients[c.Masters[i]].Do(ctx, "cluster", "myid").Text()
		check(t, err)
		check(t, poll(func(ctx context.Context) error { return clients[replica].ClusterReplicate(ctx, id).Err() }))
	}
	for _, replica := range c.Replicas {
		check(t, poll(func(ctx context.Context) error { return linked(ctx, replica) }))
	}
	for _, s := range all {
		check(t, poll(func(ctx context.Context) error {
			shards, err := clients[s].ClusterShards(ctx).Result()
			for _, shard := range shards {
				if len(shard.Nodes) != 2 {
					err = fmt.Errorf("%s knows %d nodes of a shard", s.Addr(), len(shard.Nodes))
				}
			}
			return err
		}))
		check(t, clients[s].ConfigSet(ctx, "cluster-node-timeout", nodeTimeout).Err())
	}
}

package testenv

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/asidego/aside/internal/localserver"
)

// masters is how many servers a cluster has.
const masters = 3

// nodeTimeout is how long a server may be silent, in ms, until others take it
// for dead.
const nodeTimeout = "2000"

// slots is how many slots they share.
const slots = 16384

// ClusterServers are a Redis Cluster and the part of its keys that belongs to one test.
type ClusterServers struct {
	addrs  []string
	prefix string
}

var sharedCluster = sync.OnceValues(func() ([]*localserver.Redis, error) {
	servers, err := startCluster()
	for _, s := range servers {
		closeAtEnd(s.Close)
	}
	return servers, err
})

// RedisCluster returns the process's Redis Cluster of three masters, started when the first test asks. Tests are kept apart by
// Prefix alone.
func RedisCluster(t TB) *ClusterServers {
	t.Helper()
	servers, err := sharedCluster()
	return newClusterServers(must(t, servers, err))
}

func newClusterServers(servers []*localserver.Redis) *ClusterServers {
	c := &ClusterServers{prefix: fmt.Sprintf("%s_c%d", runID, prefixes.Add(1))}
	for _, s := range servers {
		c.addrs = append(c.addrs, s.Addr())
	}
	return c
}

// Prefix returns a name that no other test has, to be used as a namespace.
func (c *ClusterServers) Prefix() string { return c.prefix }

// Addrs returns each master's "host:port".
func (c *ClusterServers) Addrs() []string { return c.addrs }

// Options are those of RedisServer.Options for a Cluster.
func (c *ClusterServers) Options() *redis.ClusterOptions {
	return &redis.ClusterOptions{
		Addrs:                    slices.Clone(c.addrs), // which the client appends to
		ContextTimeoutEnabled:    true,
		DialerRetries:            1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

// Client returns a client with Options, closed when the test ends.
func (c *ClusterServers) Client(t TB) *redis.ClusterClient {
	t.Helper()
	client := redis.NewClusterClient(c.Options())
	t.Cleanup(func() {
		if err := client.Close(); err != nil && !errors.Is(err, redis.ErrClosed) {
			check(t, err)
		}
	})
	return client
}

// OwnCluster is a Redis Cluster that belongs to one test.
type OwnCluster struct {
	*ClusterServers
	Masters  []*OwnRedis
	Replicas []*OwnRedis // of the masters in their order, after AddReplicas
}

// NewRedisCluster starts three masters for one test, which may stop, kill and configure them, and move slots. It takes a
// second or two. There are no replicas: the slots of a dead master are nobody's until it is back. args go to each server.
func NewRedisCluster(t TB, args ...string) *OwnCluster {
	t.Helper()
	servers, err := startCluster(append([]string{"--cluster-require-full-coverage", "no"}, args...)...)
	for _, s := range servers {
		t.Cleanup(func() { check(t, s.Close()) })
	}
	servers = must(t, servers, err)
	own := &OwnCluster{ClusterServers: newClusterServers(servers)}
	for _, s := range servers {
		own.Masters = append(own.Masters, &OwnRedis{
			RedisServer: newRedisServer(&redis.Options{Addr: s.Addr()}),
			control:     control{t: t, server: s.Server},
		})
	}
	return own
}

// Master returns the server at an address.
func (c *OwnCluster) Master(addr string) *OwnRedis {
	for _, m := range c.Masters {
		if m.Addr() == addr {
			return m
		}
	}
	return nil
}

// startCluster starts the masters, gives each a third of the slots, and returns when all agree. On an error it returns
// those that were started.
func startCluster(args ...string) (servers []*localserver.Redis, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), ddlTimeout)
	defer cancel()
	args = append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", nodeTimeout}, args...)
	for range masters {
		s, err := localserver.StartRedis(ctx, localserver.Options{Args: args})
		if err != nil {
			return servers, err
		}
		servers = append(servers, s)
	}
	clients := make([]*redis.Client, masters)
	for i, s := range servers {
		clients[i] = redis.NewClient(newRedisServer(&redis.Options{Addr: s.Addr()}).Options())
		defer clients[i].Close()
		from, to := i*slots/masters, (i+1)*slots/masters-1
		if err := clients[i].Do(ctx, "cluster", "addslotsrange", from, to).Err(); err != nil {
			return servers, err
		}
		// Each has an epoch of its own from the start: they would come to that anyway, after a while of disagreement.
		if err := clients[i].Do(ctx, "cluster", "set-config-epoch", i+1).Err(); err != nil {
			return servers, err
		}
	}
	for i := range servers {
		for _, other := range servers[i+1:] { // all with all, as gossip takes its time
			host, port, _ := net.SplitHostPort(other.Addr())
			if err := clients[i].ClusterMeet(ctx, host, port).Err(); err != nil {
				return servers, err
			}
		}
	}
	for _, c := range clients {
		for {
			info, err := c.ClusterInfo(ctx).Result()
			if err != nil {
				return servers, err
			}
			if strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_slots_ok:16384") &&
				strings.Contains(info, fmt.Sprintf("cluster_known_nodes:%d", masters)) {
				break
			}
			if ctx.Err() != nil {
				return servers, fmt.Errorf("no cluster: %s", info)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return servers, nil
}

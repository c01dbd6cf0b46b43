package redisstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Tune sets what a client in front of a database needs; the defaults of go-redis wait for seconds:
//
//   - ContextTimeoutEnabled: a hung server costs the caller's deadline instead of ReadTimeout (5 s);
//   - MaxRetries -1: no command runs twice, and none takes a multiple of the time;
//   - DialerRetries 1: a server that is down is known to be down at once, not after 1.75 s;
//   - no client-side cache, which answers with values that were invalidated a moment ago.
//
// For a Cluster set the same fields of redis.ClusterOptions, of which retries are off anyway.
func Tune(o *redis.Options) {
	o.ContextTimeoutEnabled = true
	o.MaxRetries = -1
	o.DialerRetries = 1
	o.ClientSideCache, o.ClientSideCacheConfig = nil, nil
}

// inspect looks at what the client shows of its settings.
func (s *Store) inspect() {
	warn := func(format string, args ...any) { s.settings = append(s.settings, fmt.Sprintf(format, args...)) }
	common := func(obeys bool, retries, dials int) {
		s.obeys = obeys
		if !obeys {
			warn("ContextTimeoutEnabled is off: a hung server holds a connection for ReadTimeout, and every call costs a goroutine; set it to true")
		}
		if retries > 0 {
			warn("MaxRetries is %d: a command may run twice and take a multiple of its time; set it to -1", retries)
		}
		if dials != 1 {
			warn("DialerRetries is %d: a server that is down is dialled that often before anybody is told; set it to 1", dials)
		}
	}
	switch c := s.client.(type) {
	case nil:
		s.unfit = errors.New("redisstore: the client is nil")
	case *redis.Client:
		o := c.Options()
		common(o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries)
		if o.ClientSideCache != nil || o.ClientSideCacheConfig != nil {
			warn("ClientSideCache is on: reads may return what was invalidated before; leave ClientSideCache and ClientSideCacheConfig nil")
		}
	case *redis.ClusterClient:
		s.cluster = true
		o := c.Options()
		common(o.ContextTimeoutEnabled, o.MaxRetries, o.DialerRetries)
		for _, option := range []struct {
			name string
			on   bool
		}{{"RouteByLatency", o.RouteByLatency}, {"RouteRandomly", o.RouteRandomly}, {"ReadOnly", o.ReadOnly}} {
			if option.on { // the routes switch ReadOnly on themselves, so they come first
				s.unfit = fmt.Errorf("redisstore: redis.ClusterOptions.%s sends reads to replicas, which lag behind invalidations", option.name)
				break
			}
		}
	case *redis.Ring:
		s.unfit = errors.New("redisstore: a redis.Ring moves keys when a node goes and brings old values back with it; use one server, Sentinel or Cluster")
	default:
		// A wrapper: it may hide a Cluster, so one key a command.
		s.cluster = true
		warn("the client is a %T: its settings cannot be seen; see redisstore.Tune", c)
	}
}

// Warnings are settings of the client, and after Check of the server, that work but cost something: which, what happens,
// and what to set.
func (s *Store) Warnings() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Concat(s.settings, s.atStart, s.blind)
}

// Check refuses a client that must not be used: see New, and a client whose commands reach a replica
// (redis.FailoverOptions.ReplicaOnly). It also learns the server's eviction policy: where volatile keys are evicted first,
// writers' tokens are kept without a Redis expiry from then on. Call it at the start, and again after a failover or a
// change of the server's settings.
//
// A server that cannot be asked, because it is away or does not allow the question, is no error: an application must
// start without its cache.
func (s *Store) Check(ctx context.Context) error {
	if s.unfit != nil {
		return s.unfit
	}
	_ = s.Learn(ctx) // what it cannot learn is among the warnings
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return s.checkCluster(ctx, c)
	}
	if s.cluster {
		return nil
	}
	var role, policy string
	err := s.await(ctx, func() error {
		role = roleOf(ctx, s.client)
		policy = info(ctx, s.client, "memory", "maxmemory_policy")
		return nil
	})
	switch {
	case err != nil: // and the goroutine may still be writing to role and policy
		return nil
	case role == "slave":
		return errors.New("redisstore: the client's commands reach a replica, which lags behind invalidations; connect it to the master")
	case policy != "":
		s.policy(policy)
	}
	return nil
}

// checkCluster asks every server that commands go to. One that answers as a replica may have been demoted a moment ago;
// if the client, after it has looked anew, still sends it commands, they reach a replica.
func (s *Store) checkCluster(ctx context.Context, c *redis.ClusterClient) error {
	const looks = 3
	for look := range looks {
		var mu sync.Mutex
		var replica string
		var policies []string
		err := s.await(ctx, func() error {
			return c.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
				role, p := roleOf(ctx, master), info(ctx, master, "memory", "maxmemory_policy")
				mu.Lock()
				defer mu.Unlock()
				if role == "slave" {
					replica = master.Options().Addr
				}
				if p != "" {
					policies = append(policies, p)
				}
				return nil
			})
		})
		if err != nil { // and goroutines may still be writing
			return nil
		}
		if len(policies) > 0 {
			s.policy(policies...)
		}
		if replica == "" {
			return nil
		}
		if look == looks-1 {
			return fmt.Errorf("redisstore: the client's commands reach a replica, %s, which lags behind invalidations; connect it to masters", replica)
		}
	}
	return nil
}

func roleOf(ctx context.Context, client redis.UniversalClient) string {
	if answer, err := client.Do(ctx, "role").Slice(); err == nil && len(answer) > 0 {
		role, _ := answer[0].(string)
		return role
	}
	return info(ctx, client, "replication", "role")
}

// policy draws the conclusions from the eviction policies of the servers. Volatile policies take keys with an expiry only,
// and the nearest to its end first (volatile-ttl): intents before anything else. The price of tokens without an expiry is
// that those of a dead writer stay until somebody touches the key, a few dozen bytes each.
//
// volatile-ttl evicts tokens all the same if one process could not ask for the policy when it started.
func (s *Store) policy(policies ...string) {
	var warnings []string
	var evicts string
	persist := false
	for _, policy := range policies {
		persist = persist || strings.HasPrefix(policy, "volatile-")
		if strings.HasPrefix(policy, "allkeys-") {
			evicts = "maxmemory-policy " + policy
			warnings = []string{fmt.Sprintf("maxmemory-policy is %s: writers' tokens may be evicted, and strict mode loses its promise then; set a volatile-* policy, or noeviction", policy)}
		}
		if policy == "volatile-ttl" && evicts == "" {
			evicts = "maxmemory-policy " + policy
		}
	}
	s.persist.Store(persist)
	s.mu.Lock()
	s.atStart, s.evicts = warnings, evicts
	s.mu.Unlock()
}

// EvictsTokens implements store.Evicting, with what the last Check has found.
func (s *Store) EvictsTokens() (setting string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.evicts
}

// info is one field of INFO, empty if it is not to be had.
func info(ctx context.Context, client redis.UniversalClient, section, field string) string {
	text, err := client.Info(ctx, section).Result()
	if err != nil {
		return ""
	}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == field {
			return value
		}
	}
	return ""
}

package redisstore

import (
	"context"

	"github.com/redis/go-redis/v9"
)

// unknown names the server of a key while the client has not learned which servers there are.
const unknown = "?"

// ended is a context with which a client looks at what it knows and asks nobody.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// Node names the server that has key, by its address, as the client of a Cluster sees it now; empty for other clients.
// It implements store.Sharded.
func (s *Store) Node(key string) string {
	c, ok := s.client.(*redis.ClusterClient)
	if !ok || s.unfit != nil {
		return ""
	}
	master, err := c.MasterForKey(ended, key)
	if err != nil {
		return unknown
	}
	return master.Options().Addr
}

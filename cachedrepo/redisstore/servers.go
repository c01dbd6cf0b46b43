package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
)

// servers are those that commands of a Cluster client go to, and what became of commands that went elsewhere.
type servers struct {
	byNode sync.Map // *redis.Client to *server; hits look here

	mu     sync.Mutex // guards the rest
	hooked map[*redis.Client]bool

	// moved are keys of commands that a server answered with MOVED, and how many times the Cluster's map had been fetched
	// before.
	moved   map[string]uint64
	fetched uint64
	turn    chan struct{} // one fetch at a time
}

// watch has the client tell of connections and redirections.
func (s *Store) watch() {
	switch c := s.client.(type) {
	case *redis.Client:
		s.only = newServer(c, "")
		c.AddHook(hook{s, c})
	case *redis.ClusterClient:
		s.servers.hooked, s.servers.moved = make(map[*redis.Client]bool), make(map[string]uint64)
		s.servers.turn = make(chan struct{}, 1)
		c.OnNewNode(func(node *redis.Client) {
			s.servers.mu.Lock()
			defer s.servers.mu.Unlock()
			s.hook(node)
		})
	default: // which may be many servers, of which only the user knows who they are
		s.only = newServer(s.client, "")
		if s.cfg.Epoch == nil {
			s.giveUp(s.only, fmt.Sprintf("a %T does not show its connections", s.client))
		}
	}
}

// hook adds the hook to the client of a node, if it has none. s.servers.mu is held.
func (s *Store) hook(node *redis.Client) {
	if !s.servers.hooked[node] {
		s.servers.hooked[node] = true
		node.AddHook(hook{s, node})
	}
}

// server is the server that has key, as the client sees it now; nil if it has not looked yet.
func (s *Store) server(ctx context.Context, key string) *server {
	c, ok := s.client.(*redis.ClusterClient)
	if !ok {
		return s.only
	}
	node, err := c.MasterForKey(ctx, key)
	if err != nil {
		return nil
	}
	return s.at(node)
}

func (s *Store) at(node *redis.Client) *server {
	if at, ok := s.servers.byNode.Load(node); ok {
		return at.(*server)
	}
	s.servers.mu.Lock()
	defer s.servers.mu.Unlock()
	s.hook(node)
	at, _ := s.servers.byNode.LoadOrStore(node, newServer(node, node.Options().Addr))
	return at.(*server)
}

// each calls f with all servers.
func (s *Store) each(f func(at *server)) {
	if s.only != nil {
		f(s.only)
		return
	}
	s.servers.byNode.Range(func(_, at any) bool {
		f(at.(*server))
		return true
	})
}

// learnAll fetches the Cluster's map and asks its masters. Who is no master any more is forgotten: should it become one
// again, it is asked before anything that it answers counts, connections that have been open all the time included.
func (s *Store) learnAll(ctx context.Context) error {
	c, _ := s.client.(*redis.ClusterClient)
	var mu sync.Mutex
	var errs []error
	masters := make(map[*redis.Client]bool)
	err := c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error {
		err := s.ask(ctx, s.at(node), true)
		mu.Lock()
		defer mu.Unlock()
		masters[node] = true
		if err != nil {
			errs = append(errs, fmt.Errorf("redisstore: %s: %w", node.Options().Addr, err))
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.servers.mu.Lock()
	defer s.servers.mu.Unlock()
	s.servers.byNode.Range(func(node, _ any) bool {
		if !masters[node.(*redis.Client)] {
			s.servers.byNode.Delete(node)
			delete(s.servers.hooked, node.(*redis.Client)) // a second hook does no harm, a client that is never let go does
		}
		return true
	})
	clear(s.servers.moved) // of other users of the client
	s.moves.Store(0)
	return errors.Join(errs...)
}

// redirected tells whether commands for keys of ops were answered with MOVED, and if so fetches the Cluster's map: what the
// client got in the end came from a server that it does not take for the keys' yet. The map must be as new as the answer,
// or a value would be judged by the epoch of a master that has just been replaced.
func (s *Store) redirected(ctx context.Context, ops []store.Op) (bool, error) {
	if s.moves.Load() == 0 {
		return false, nil
	}
	moved, after := false, uint64(0)
	s.servers.mu.Lock()
	for i := range ops {
		if fetched, ok := s.servers.moved[ops[i].Key]; ok {
			moved, after = true, max(after, fetched)
			delete(s.servers.moved, ops[i].Key)
		}
	}
	s.moves.Store(int64(len(s.servers.moved)))
	s.servers.mu.Unlock()
	if !moved || !looks(ops) {
		return false, nil
	}
	select {
	case s.servers.turn <- struct{}{}:
		defer func() { <-s.servers.turn }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	s.servers.mu.Lock()
	late := s.servers.fetched > after // somebody else has begun to fetch it after that answer
	if !late {
		s.servers.fetched++
	}
	s.servers.mu.Unlock()
	c, _ := s.client.(*redis.ClusterClient)
	if !late {
		if err := c.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil }); err != nil {
			return false, err
		}
	}
	for i := range ops {
		if at := s.server(ctx, ops[i].Key); at != nil {
			at.suspect() // it may have been a master before, and the connections to it may be old
		}
	}
	return true, nil
}

// hook is what the store adds to the client, or to the clients of a Cluster's nodes.
type hook struct {
	s    *Store
	node *redis.Client
}

// DialHook doubts who the server is before anything is sent over a new connection.
func (h hook) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := next(ctx, network, addr)
		if err == nil {
			h.doubt()
		}
		return conn, err
	}
}

func (h hook) doubt() {
	at := h.s.only
	if at == nil {
		if known, ok := h.s.servers.byNode.Load(h.node); ok {
			at = known.(*server)
		}
	}
	if at != nil { // else it is new, and in doubt when it is used
		at.suspect()
	}
}

// ProcessHook notes redirections.
func (h hook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	if h.s.only != nil {
		return next
	}
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		h.note(cmd)
		return err
	}
}

// ProcessPipelineHook notes redirections.
func (h hook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	if h.s.only != nil {
		return next
	}
	return func(ctx context.Context, cmds []redis.Cmder) error {
		err := next(ctx, cmds)
		for _, cmd := range cmds {
			h.note(cmd)
		}
		return err
	}
}

func (h hook) note(cmd redis.Cmder) {
	if cmd.Err() == nil || !is(cmd.Err(), "MOVED") {
		return
	}
	args := cmd.Args()
	at := 1
	if name := cmd.Name(); name == "evalsha" || name == "eval" {
		at = 3
	}
	if at >= len(args) {
		return
	}
	key, ok := args[at].(string)
	if !ok {
		return
	}
	h.s.servers.mu.Lock()
	defer h.s.servers.mu.Unlock()
	h.s.servers.moved[key] = h.s.servers.fetched
	h.s.moves.Store(int64(len(h.s.servers.moved)))
}

package soak

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/localserver"
)

// startRedis starts a server that can be told to save where it cannot, and that sends itself to replicas at once.
func startRedis() (*localserver.Redis, error) {
	args := []string{"--enable-protected-configs", "yes", "--repl-diskless-sync-delay", "0"}
	return localserver.StartRedis(context.Background(), localserver.Options{Args: args})
}

func adminOf(s *localserver.Redis) *redis.Client {
	return redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: 5})
}

// failOver has a replica follow the server for a moment, cuts it off while the server goes on and confirms what it does,
// kills the server, and promotes the replica, without all that. Clients find it at the same address, over new
// connections: what Sentinel does for them, without the seconds that it takes.
func (r *run) failOver(f fault) (err error) {
	link, err := faults.Listen(r.redis.Addr())
	if err != nil {
		return err
	}
	defer link.Close()
	host, port, err := net.SplitHostPort(link.Addr())
	if err != nil {
		return err
	}
	replica, err := startRedis()
	if err != nil {
		return err
	}
	admin := adminOf(replica)
	defer func() {
		if err != nil {
			_ = admin.Close()
			_ = replica.Close()
		}
	}()
	if err := follow(admin, host, port); err != nil {
		return err
	}
	link.Swallow()
	time.Sleep(f.For)
	if err := r.redis.Kill(); err != nil {
		return err
	}
	if err := admin.Do(context.Background(), "replicaof", "no", "one").Err(); err != nil {
		return fmt.Errorf("REPLICAOF NO ONE: %w", err)
	}
	for _, p := range []*faults.Proxy{r.toRedis, r.beside} {
		p.Lead(replica.Addr())
		p.Cut()
	}
	old, oldAdmin := r.redis, r.admin
	r.redis, r.admin = replica, admin
	return errors.Join(oldAdmin.Close(), old.Close())
}

// follow makes a server a replica, which it does not remain when it is restarted, and waits until it has what its master has.
func follow(admin *redis.Client, host, port string) error {
	if err := admin.Do(context.Background(), "replicaof", host, port).Err(); err != nil {
		return fmt.Errorf("REPLICAOF: %w", err)
	}
	for deadline := now() + int64(patience); ; time.Sleep(5 * time.Millisecond) {
		text, err := admin.Info(context.Background(), "replication").Result()
		if err == nil && strings.Contains(text, "master_link_status:up") {
			return nil
		}
		if now() > deadline {
			return fmt.Errorf("the replica does not follow: %s, %w", text, err)
		}
	}
}

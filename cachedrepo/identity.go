package cachedrepo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// identity finds two databases that share a namespace in one store, which would serve each other's rows. They cannot see
// each other in their registries, so the namespace holds a value that names the database: its name and its cluster's system
// identifier, which a failover or a physical restore keeps and a copy, an upgrade or another server does not.
//
// Whoever finds no value stores one; two who do so at once are told apart the next time. It is no proof: the store may lose
// the value at any time.
type identity struct {
	next time.Time // when to look again
}

const (
	identityLife  = 30 * 24 * time.Hour
	identityEvery = 12 * time.Hour
	identityMark  = "aside database "
)

type errOtherDatabase struct{ namespace string }

func (e errOtherDatabase) Error() string {
	return fmt.Sprintf("namespace %s is used by another database in this store: choose another Namespace, or, if this database replaces that one, raise Generation", e.namespace)
}

// check compares the value, and renews it. It fails only if the namespace is another database's; what cannot be found out
// is left for later.
func (i *identity) check(ctx context.Context, rt *runtime) error {
	if time.Now().Before(i.next) {
		return nil
	}
	var name, cluster string
	if err := rt.db.QueryRowContext(ctx, `SELECT current_database(), system_identifier::text FROM pg_control_system()`).Scan(&name, &cluster); err != nil {
		rt.trouble(ctx, "identity", fmt.Errorf("aside: the database does not tell its identity: %w", err))
		i.next = time.Now().Add(identityEvery)
		return nil
	}
	sum := sha256.Sum256([]byte(cluster + "\n" + name))
	mine := identityMark + hex.EncodeToString(sum[:16])
	op := store.Op{Kind: store.Acquire, Key: rt.cfg.Namespace + ":~db", Token: store.NewToken(), TTL: rt.leaseTime()}
	ctx, cancel := context.WithTimeout(ctx, 10*rt.cfg.Timeout)
	defer cancel()
	reply, err := ask(ctx, rt.store, op)
	if err == nil && reply.State == store.Value && string(reply.Value) == mine {
		op.Kind, op.Value = store.AcquireOver, reply.Value
		reply, err = ask(ctx, rt.store, op)
	}
	switch {
	case err != nil:
		return nil // the store is away: at the next beat
	case reply.State == store.Lease && reply.Token == op.Token:
		op.Kind, op.Value, op.TTL = store.Fill, []byte(mine), identityLife
		if _, err := ask(ctx, rt.store, op); err != nil {
			return nil
		}
	case reply.State == store.Lease:
		return nil // somebody else is about to store it
	case reply.State == store.Value && string(reply.Value) != mine:
		return errOtherDatabase{rt.cfg.Namespace}
	}
	i.next = time.Now().Add(identityEvery)
	return nil
}

func ask(ctx context.Context, s store.Store, op store.Op) (store.Reply, error) {
	var reply [1]store.Reply
	err := s.Do(ctx, []store.Op{op}, reply[:])
	return reply[0], err
}

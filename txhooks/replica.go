package txhooks

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
)

// route is where reads go that need not go to the primary.
type route struct {
	only *sqlx.DB // nil: any replica, and the primary where none answers
}

type routeKey struct{}

// OnReplica returns a context whose reads may be answered by any of Config.Replicas, one after the other, and by the primary
// if none answers. What they find may be older than what the caller has just written, without a bound: it is for reports
// and exports, not for what a decision rests on. In a transaction, and for statements that write, it means nothing; the
// functions that Run and hooks get have contexts without it. A cached read on such a context is as fresh as on any other.
func OnReplica(ctx context.Context) context.Context {
	return context.WithValue(ctx, routeKey{}, &route{})
}

// OnPrimary undoes OnReplica.
func OnPrimary(ctx context.Context) context.Context {
	if routeOf(ctx) == nil {
		return ctx
	}
	return context.WithValue(ctx, routeKey{}, (*route)(nil))
}

// OnOne returns a context whose reads through db go to this one of db's Replicas, and fail if it fails. It is for what knows
// how far that replica is, as a cache does. Another *DB, also one over the same pool, asks its primary.
func (db *DB) OnOne(ctx context.Context, replica *sqlx.DB) context.Context {
	return context.WithValue(ctx, routeKey{}, &route{only: replica})
}

// Replicas returns Config.Replicas.
func (db *DB) Replicas() []*sqlx.DB { return db.config.Replicas }

// ReplicaReads returns how many reads replicas have answered, and how many were answered by another replica or the primary
// because one failed. Reads on OnOne are not counted.
func (db *DB) ReplicaReads() (answered, failed int64) {
	return db.replicas.answered.Load(), db.replicas.failed.Load()
}

// replicas is what a DB remembers of Config.Replicas.
type replicas struct {
	turn             atomic.Uint32
	answered, failed atomic.Int64
	rest             []atomic.Int64 // until when each is left out after a failure, in nanoseconds since 1970
}

// replicaRest is how long a replica that could not be reached is left out: each read that tries it may wait for a
// connection that does not come.
const replicaRest = time.Second

func routeOf(ctx context.Context) *route {
	r, _ := ctx.Value(routeKey{}).(*route)
	return r
}

// route is where a read outside a transaction goes; nil: to the primary.
func (db *DB) route(ctx context.Context) *route {
	if len(db.config.Replicas) == 0 {
		return nil
	}
	return routeOf(ctx)
}

// away sends a read to a replica. read must be one that can be sent again: it is, to the next and then to the primary, after
// any error but the caller's own end and "no rows". A replica can fail where the primary does not: it is away, it cancels
// what stands in the way of the replay, it has not heard of a new column yet.
func away[R any](ctx context.Context, db *DB, r *route, read func(conn *sqlx.DB) (R, error)) (R, error) {
	all := db.config.Replicas
	if r.only != nil {
		for _, conn := range all {
			if conn == r.only {
				return read(conn)
			}
		}
		return read(db.conn)
	}
	first := int(db.replicas.turn.Add(1))
	for i := range all {
		at := (first + i) % len(all)
		now := time.Now().UnixNano()
		if db.replicas.rest[at].Load() > now {
			continue
		}
		res, err := read(all[at])
		if err == nil || errors.Is(err, sql.ErrNoRows) || ctx.Err() != nil {
			db.replicas.answered.Add(1)
			return res, err
		}
		db.replicas.failed.Add(1)
		if unreachable(err) {
			db.replicas.rest[at].Store(now + int64(replicaRest))
		}
		if sqlState(err) == "25006" {
			break // a statement that writes: no replica takes it
		}
	}
	return read(db.conn)
}

// unreachable tells of errors that the next read would meet as well.
func unreachable(err error) bool {
	state := sqlState(err)
	return state == "" || strings.HasPrefix(state, "08") || strings.HasPrefix(state, "53") || strings.HasPrefix(state, "57P0")
}

// selectAway is SelectContext on a replica. sqlx empties dest first, so that nothing stays of a replica that failed half-way.
func (db *DB) selectAway(ctx context.Context, r *route, dest any, query string, args []any) error {
	_, err := away(ctx, db, r, func(conn *sqlx.DB) (none struct{}, _ error) {
		return none, conn.SelectContext(ctx, dest, query, args...)
	})
	return err
}

func (db *DB) getAway(ctx context.Context, r *route, dest any, query string, args []any) error {
	_, err := away(ctx, db, r, func(conn *sqlx.DB) (none struct{}, _ error) {
		return none, conn.GetContext(ctx, dest, query, args...)
	})
	return err
}

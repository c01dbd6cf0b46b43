package cachedrepo

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// The incarnation of the database changes when it may have lost commits that it had acknowledged. Then the cache may hold a
// row that the database never had, and no event will ever end it: not even the version tells, for the next update makes
// another row of the same version. It is part of every entry, so that it needs no place of its own and is the same for a
// process that starts later.
//
//   - system_identifier: the cluster. Another one is another database: a logical copy, a blue/green switch.
//   - the database's oid: it was dropped and restored from a dump.
//   - the timeline: a standby was promoted, or the cluster was restored to a point in time. It is that of the log that is
//     being written: the one in the last checkpoint is behind for a while after a promotion.
//   - the moment of the last crash, if synchronous_commit is off somewhere. Without that a crash loses nothing, and a cache
//     that is suddenly empty is the last thing a database needs that has just crashed. The start of the postmaster would not
//     do: after the crash of a backend it goes on, and with it everything but the commits of that moment. The statistics are
//     thrown away after every crash, which is noted, and kept over an orderly restart.
const incarnationQuery = `
SELECT (SELECT system_identifier FROM pg_control_system())::text,
	(SELECT oid FROM pg_database WHERE datname = current_database())::text,
	CASE WHEN pg_is_in_recovery() THEN lpad(upper(to_hex((SELECT timeline_id FROM pg_control_checkpoint()))), 8, '0')
		ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END,
	CASE WHEN $1 OR current_setting('synchronous_commit') = 'off'
			OR EXISTS (SELECT FROM pg_db_role_setting WHERE 'synchronous_commit=off' = ANY (setconfig))
		THEN (SELECT coalesce((extract(epoch FROM stats_reset) * 1000000)::bigint, 0) FROM pg_stat_bgwriter)::text ELSE '' END`

const defaultIncarnation = time.Second

// incarnation asks the database. The statement goes over a connection of the pool outside any transaction.
func (rt *runtime) incarnation(ctx context.Context) (uint64, error) {
	var of [4]string
	err := rt.db.QueryRowContext(ctx, incarnationQuery, rt.cfg.AsyncCommit).Scan(&of[0], &of[1], &of[2], &of[3])
	if err != nil {
		return 0, err
	}
	sum := sha256.Sum256([]byte("database " + strings.Join(of[:], " ")))
	return max(1, binary.BigEndian.Uint64(sum[:])), nil
}

// startIncarnation asks the database which it is, for New. If it does not answer nothing is read from the store until it
// does: nobody could tell which epoch it is.
func (rt *runtime) startIncarnation() {
	if rt.cfg.Unchecked || rt.cfg.Incarnation < 0 {
		return
	}
	known, asks := rt.askIncarnation(context.Background())
	if !asks {
		return
	}
	n := rt.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	n.poll = true
	if !known {
		for _, a := range rt.accesses {
			a.unserve(unservedIncarnation, true)
		}
		n.watchDatabase() // no read will come by
	}
	n.judge()
}

// watchDatabase starts asking the database which it is. n.mu is held.
func (n *nodes) watchDatabase() {
	if !n.poll || n.closed {
		return
	}
	n.poll = false
	n.judge()
	n.start(func() {
		timer := time.NewTimer(0)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-n.ctx.Done():
				return
			}
			known, asks := n.rt.askIncarnation(n.ctx)
			if !asks {
				return
			}
			pause := n.rt.cfg.Incarnation
			if !known {
				pause /= 4 // it may be starting, with what it has left
			}
			timer.Reset(pause)
		}
	})
}

// askIncarnation asks once. asks is false if the database will never answer.
func (rt *runtime) askIncarnation(ctx context.Context) (known, asks bool) {
	call, cancel := context.WithTimeout(ctx, max(catalogTimeout, rt.cfg.Incarnation))
	defer cancel()
	is, err := rt.incarnation(call)
	if err != nil && ctx.Err() != nil {
		return false, true
	}
	var of interface{ SQLState() string }
	if err != nil && !(errors.As(err, &of) && strings.HasPrefix(of.SQLState(), "42")) {
		rt.stats.incarnationErrors.Add(1)
		rt.trouble(ctx, "incarnation", fmt.Errorf("aside: the database does not say which it is: %w", err))
		return false, true
	}
	if err != nil { // a function that is not there, or not allowed
		rt.stats.incarnationErrors.Add(1)
		rt.trouble(ctx, "incarnation", fmt.Errorf("aside: the database never says which it is: should it lose commits, rows that it never had are served for up to the TTL; set Config.Incarnation to -1 if that is meant: %w", err))
		is = 0
	}
	if was := rt.era.database.Swap(is); was != 0 && was != is {
		rt.moved("the database")
	}
	for _, a := range rt.accesses {
		a.unserve(unservedIncarnation, false)
	}
	return true, err == nil
}

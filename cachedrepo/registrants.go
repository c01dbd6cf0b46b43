package cachedrepo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// registrant is a row of aside_registrants, as others see it.
type registrant struct {
	process    string
	serial     int64
	label      string
	declares   map[string]bool
	stopsAfter time.Duration
	gone       bool
}

// newProcess returns a random UUID, which is not used again: a process that starts anew is another.
func newProcess() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func labelOf() string {
	host, _ := os.Hostname()
	return fmt.Sprintf("%s/%d/%s", host, os.Getpid(), filepath.Base(os.Args[0]))
}

// renew says that this process lives. It returns false if there is no row, or others have declared it dead: a row lock
// makes the two take turns, and who comes second sees what the first has done.
func (r *registry) renew(ctx context.Context) (bool, error) {
	res, err := r.rt.db.ExecContext(ctx, `UPDATE aside_registrants SET seen_at = now()
		WHERE namespace = $1 AND process = $2::text::uuid AND gone_at IS NULL`, r.rt.cfg.Namespace, r.process)
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	if ttl := r.rt.longestLife(); err == nil && n == 1 && ttl > r.told {
		if _, err = r.rt.db.ExecContext(ctx, `UPDATE aside_namespaces SET longest_ttl = greatest(longest_ttl, make_interval(secs => $2))
			WHERE namespace = $1`, r.rt.cfg.Namespace, ttl.Seconds()); err == nil {
			r.told = ttl
		}
	}
	return n == 1, err
}

// enter writes the row of this process, with a new serial. The lock on the namespace's row is held until the commit, so
// that serials become visible in their order: a later one is never seen before an earlier one.
func (r *registry) enter(ctx context.Context) error {
	cfg := &r.rt.cfg
	ttl := r.rt.longestLife()
	var serial int64
	if err := r.rt.db.GetContext(ctx, &serial, `INSERT INTO aside_namespaces AS n (namespace, serial, longest_ttl)
		VALUES ($1, 1, make_interval(secs => $2))
		ON CONFLICT (namespace) DO UPDATE SET serial = n.serial + 1, longest_ttl = greatest(n.longest_ttl, excluded.longest_ttl)
		RETURNING serial`, cfg.Namespace, ttl.Seconds()); err != nil {
		return err
	}
	declares, err := json.Marshal(r.declares)
	if err != nil {
		return err
	}
	_, err = r.rt.db.ExecContext(ctx, `INSERT INTO aside_registrants
			(namespace, process, serial, label, build, declares, stops_after, expires_after, registered_at, seen_at)
		VALUES ($1, $2::text::uuid, $3, $4, $5, ARRAY(SELECT jsonb_array_elements_text($6::text::jsonb)),
			make_interval(secs => $7), make_interval(secs => $8), now(), now())
		ON CONFLICT (namespace, process) DO UPDATE
		SET serial = excluded.serial, registered_at = excluded.registered_at, seen_at = excluded.seen_at, gone_at = NULL`,
		cfg.Namespace, r.process, serial, r.label, int64(cfg.Build), string(declares),
		(stopsAfter * cfg.Heartbeat).Seconds(), (expiresAfter * cfg.Heartbeat).Seconds())
	if err == nil {
		r.told = ttl
	}
	return err
}

// sweep declares dead who has not been seen for too long, and drops rows of the dead that say nothing more: those that are
// older than any entry, and those after which another came that lacks all that they lack. It waits for no lock: whoever
// holds one renews, or sweeps as well.
func (r *registry) sweep(ctx context.Context) error {
	for _, statement := range []string{
		`UPDATE aside_registrants SET gone_at = now() WHERE ctid = ANY (ARRAY(SELECT ctid FROM aside_registrants
			WHERE namespace = $1 AND gone_at IS NULL AND seen_at + expires_after < clock_timestamp() FOR UPDATE SKIP LOCKED))`,
		`DELETE FROM aside_registrants WHERE ctid = ANY (ARRAY(SELECT ctid FROM aside_registrants d
			WHERE namespace = $1 AND gone_at IS NOT NULL AND (
				gone_at < now() - greatest(interval '1 day', 2 * (SELECT longest_ttl FROM aside_namespaces WHERE namespace = $1))
				OR EXISTS (SELECT FROM aside_registrants n
					WHERE n.namespace = d.namespace AND n.serial > d.serial AND n.declares <@ d.declares))
			FOR UPDATE SKIP LOCKED))`,
	} {
		if _, err := r.rt.db.ExecContext(ctx, statement, r.rt.cfg.Namespace); err != nil {
			return err
		}
	}
	return nil
}

// read returns all rows of the namespace.
func (r *registry) read(ctx context.Context) (all []registrant, err error) {
	rows, err := r.rt.db.QueryContext(ctx, `SELECT process::text, serial, label, to_json(declares)::text,
			extract(epoch FROM stops_after)::float8, gone_at IS NOT NULL
		FROM aside_registrants WHERE namespace = $1`, r.rt.cfg.Namespace)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var o registrant
		var declares string
		var stops float64
		if err := rows.Scan(&o.process, &o.serial, &o.label, &declares, &stops, &o.gone); err != nil {
			return nil, err
		}
		var names []string
		if err := json.Unmarshal([]byte(declares), &names); err != nil {
			return nil, err
		}
		o.declares = make(map[string]bool, len(names))
		for _, name := range names {
			o.declares[name] = true
		}
		o.stopsAfter = time.Duration(stops * float64(time.Second))
		all = append(all, o)
	}
	return all, rows.Err()
}

// resign says that this process has gone.
func (r *registry) resign(ctx context.Context) error {
	_, err := r.rt.db.ExecContext(ctx, `UPDATE aside_registrants SET gone_at = now()
		WHERE namespace = $1 AND process = $2::text::uuid AND gone_at IS NULL`, r.rt.cfg.Namespace, r.process)
	return err
}

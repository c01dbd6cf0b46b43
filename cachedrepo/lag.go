package cachedrepo

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
)

// How far behind a replica is, nobody can tell from clocks: the replica's own answer (now() less the time of the last
// transaction that it has replayed) grows without end while nobody writes, and compares two machines' clocks. So the
// primary is asked now and then how long its log is. A replica that has replayed as much has every commit that was
// acknowledged before the question was asked, and how long ago that was is measured on the clock of this process alone.
//
// The end of the log is where the next record will be inserted, not what has been written or flushed: with
// synchronous_commit off a commit is acknowledged before it is written. A log ends behind the header of a page on which
// nothing stands yet, while its last record ended before the header; counted there, a replica of an idle primary would never
// get to the end.

// position is what a server says of itself.
type position struct {
	recovery bool
	log      uint64 // primary: where the next record goes; replica: up to where it has replayed
	timeline uint32
	system   string
}

// milestone is a primary's position, and a moment before it was asked for.
type milestone struct {
	at time.Time
	position
}

// age is how long ago that was. The wall clock counts as well as the monotonic one, which stands still while a
// virtual machine is suspended.
func age(at, now time.Time) time.Duration {
	return max(now.Sub(at), time.Duration(now.UnixNano()-at.UnixNano()))
}

// history is what the primary said lately.
type history struct {
	mu         sync.Mutex
	milestones []milestone // by time
}

func (h *history) add(s milestone, keep time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	old := 0
	for old < len(h.milestones) && age(h.milestones[old].at, s.at) > keep {
		old++
	}
	h.milestones = append(h.milestones[old:], s)
}

// proves returns the latest milestone of which p, a replica's position, proves that the replica has all commits acknowledged
// before it. Another timeline is another history, in which the same number stands for something else: a replica that has
// not followed when another was promoted, or is told so late, proves nothing.
func (h *history) proves(p position) (s milestone, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.milestones) - 1; i >= 0; i-- {
		s := h.milestones[i]
		if s.system == p.system && s.timeline == p.timeline && p.log >= s.log {
			return s, true
		}
	}
	return milestone{}, false
}

// latest is what the primary said last.
func (h *history) latest() (s milestone, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.milestones) == 0 {
		return s, false
	}
	return h.milestones[len(h.milestones)-1], true
}

// querier is a *sql.DB, a connection, or a *txhooks.DB.
type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

var errStandby = errors.New("the connection to the primary leads to a standby")

// askPrimary asks for a milestone.
func askPrimary(ctx context.Context, q querier) (milestone, error) {
	s := milestone{at: time.Now()}
	var log, file string
	var page, segment uint64
	err := q.QueryRowContext(ctx, `SELECT pg_is_in_recovery(),
		CASE WHEN pg_is_in_recovery() THEN '0/0' ELSE pg_current_wal_insert_lsn()::text END,
		CASE WHEN pg_is_in_recovery() THEN '00000000' ELSE pg_walfile_name(pg_current_wal_lsn()) END,
		current_setting('wal_block_size')::bigint, pg_size_bytes(current_setting('wal_segment_size')),
		(SELECT system_identifier::text FROM pg_control_system())`).Scan(&s.recovery, &log, &file, &page, &segment, &s.system)
	if err != nil {
		return s, err
	}
	if s.recovery {
		return s, errStandby
	}
	if s.log, err = parseLog(log); err != nil {
		return s, err
	}
	s.log = endOfRecord(s.log, page, segment)
	timeline, err := strconv.ParseUint(file[:min(8, len(file))], 16, 32)
	s.timeline = uint32(timeline)
	return s, err
}

// endOfRecord is where the last record ended when the next one goes to at: the same place, or the start of the page if
// nothing but the page's header is between.
func endOfRecord(at, page, segment uint64) uint64 {
	const header, first = 24, 40 // bytes of the header of a page, and of a segment's first page
	if page == 0 || segment == 0 {
		return at
	}
	switch {
	case at%segment <= first:
		return at - at%segment
	case at%page <= header:
		return at - at%page
	}
	return at
}

// askReplica asks a replica. Where the role may not look at the WAL receiver (pg_monitor may) the timeline is that of the
// last restart point, so that it takes a while after a promotion until the replicas that follow are used again.
func askReplica(ctx context.Context, q querier) (p position, err error) {
	var log string
	var timeline int64
	err = q.QueryRowContext(ctx, `SELECT pg_is_in_recovery(), coalesce(pg_last_wal_replay_lsn()::text, '0/0'),
		greatest(c.timeline_id, r.min_recovery_end_timeline, coalesce((SELECT received_tli FROM pg_stat_wal_receiver), 0)),
		s.system_identifier::text
		FROM pg_control_checkpoint() c, pg_control_recovery() r, pg_control_system() s`).Scan(&p.recovery, &log, &timeline, &p.system)
	if err != nil {
		return p, err
	}
	p.timeline = uint32(timeline)
	p.log, err = parseLog(log)
	return p, err
}

// parseLog reads a pg_lsn: two hexadecimal numbers of 32 bits.
func parseLog(text string) (uint64, error) {
	high, low, _ := strings.Cut(text, "/")
	h, err := strconv.ParseUint(high, 16, 32)
	l, err2 := strconv.ParseUint(low, 16, 32)
	if err = errors.Join(err, err2); err != nil {
		return 0, fmt.Errorf("aside: %q is no place in a log: %w", text, err)
	}
	return h<<32 | l, nil
}

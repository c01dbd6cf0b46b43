package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// Audit is for Config: a sample of the entries that are read, and of those that should have ended, is compared with the
// database 1, 10 and 60 s later. It finds what the rules of this package cannot know of: who writes past them, a trigger
// that nobody declared, a server that lost what it had confirmed. Stats has the figures, per age; Observer.Error and the
// log are told of each wrong entry as "audit", with its table, index and age, and its key at Debug.
//
// A comparison costs one GET and one SELECT. What is taken for wrong is looked at again a moment later: a writer may have
// committed and be about to invalidate.
type Audit struct {
	Changes int  // one of how many committed changes has the entries compared that it should have ended; 0: none; 1: each
	Hits    int  // one of how many hits; 0: none
	Rate    int  // entries that are taken in a second, at most; each is compared three times; 0: 10
	Repair  bool // a wrong entry is invalidated

	ages [3]time.Duration // zero: auditAges
}

// auditAges are how long after a change or a hit its entry is compared: what is wrong after 1 s is on its way or late, after
// 10 s the outbox is late or missing, and after 60 s nothing but the TTL will end it.
var auditAges = [3]time.Duration{time.Second, 10 * time.Second, time.Minute}

// auditor takes samples and compares them. All its queues together hold no more than what Rate lets in within the oldest
// age.
type auditor struct {
	rt       *runtime
	cfg      Audit
	interval int64 // between two samples, in nanoseconds
	began    time.Time

	hits, changes atomic.Uint64
	next          atomic.Int64 // when the next sample may be taken, since began

	compared, wrong           [3]atomic.Uint64
	skipped, failed, repaired atomic.Uint64

	mu      sync.Mutex
	queues  [3][]sample // of each age, the oldest first; guarded by mu
	arrived chan struct{}
}

// sample is an entry to be compared.
type sample struct {
	*inspection
	age   int // in ages
	taken time.Time
	due   time.Time
}

func newAuditor(rt *runtime, cfg Audit) (*auditor, error) {
	if cfg.Changes < 0 || cfg.Hits < 0 || cfg.Rate < 0 {
		return nil, errors.New("aside: Config.Audit: a field is negative")
	}
	if cfg.Changes == 0 && cfg.Hits == 0 {
		return nil, nil
	}
	if cfg.Rate == 0 {
		cfg.Rate = 10
	}
	if cfg.ages == [3]time.Duration{} {
		cfg.ages = auditAges
	}
	return &auditor{rt: rt, cfg: cfg, interval: int64(time.Second) / int64(cfg.Rate), began: time.Now(), arrived: make(chan struct{}, 1)}, nil
}

// start has it compare until the cache is closed; a may be nil.
func (a *auditor) start() {
	if a == nil {
		return
	}
	a.rt.nodes.mu.Lock()
	defer a.rt.nodes.mu.Unlock()
	a.rt.nodes.start(a.run)
}

// hit is told of every hit.
func (a *auditor) hit(r *read) {
	if a.cfg.Hits == 0 || a.hits.Add(1)%uint64(a.cfg.Hits) != 0 || !a.may() {
		return
	}
	a.take(&inspection{acc: r.acc, data: slices.Clone(r.data), key: r.key})
}

// committed is told of what a transaction changed, once the entries have been ended; a may be nil.
func (a *auditor) committed(changes txhooks.Changes) {
	if a == nil || a.cfg.Changes == 0 {
		return
	}
	for ch := range changes.All() {
		if a.changes.Add(1)%uint64(a.cfg.Changes) != 0 {
			continue
		}
		if !a.may() {
			return // nor for the others of a large transaction
		}
		t := a.rt.tables[ch.Relation]
		if t == nil {
			continue
		}
		// One of the entries, or a table with many indexes would use up the rate.
		acc := t.accesses[int(a.changes.Load())%len(t.accesses)]
		for _, img := range [2]model.Image{ch.Before, ch.After} {
			if img == nil {
				continue
			}
			if data := acc.valueOfImage(nil, img); !model.HasNull(data) {
				a.take(&inspection{acc: acc, data: data, key: acc.key(data)})
				break
			}
		}
	}
}

// may tells whether the rate lets another sample in.
func (a *auditor) may() bool {
	now := int64(time.Since(a.began))
	next := a.next.Load()
	if now < next || !a.next.CompareAndSwap(next, now+a.interval) {
		a.skipped.Add(1)
		return false
	}
	return true
}

func (a *auditor) take(i *inspection) {
	now := time.Now()
	a.put(sample{inspection: i, taken: now, due: now.Add(a.cfg.ages[0])})
	select {
	case a.arrived <- struct{}{}:
	default:
	}
}

func (a *auditor) put(s sample) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.queues[s.age] = append(a.queues[s.age], s)
}

// soonest takes the sample that is due first out of its queue, if it is due; else it says how long that takes, or that
// there is none.
func (a *auditor) soonest(now time.Time) (s sample, wait time.Duration, found bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := -1
	for age := range a.queues {
		if q := a.queues[age]; len(q) > 0 && (first < 0 || q[0].due.Before(a.queues[first][0].due)) {
			first = age
		}
	}
	if first < 0 {
		return s, -1, false
	}
	s = a.queues[first][0]
	if wait = s.due.Sub(now); wait > 0 {
		return s, wait, false
	}
	a.queues[first][0] = sample{}
	a.queues[first] = a.queues[first][1:]
	return s, 0, true
}

func (a *auditor) run() {
	ctx := a.rt.nodes.ctx
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		s, wait, found := a.soonest(time.Now())
		if found {
			a.look(ctx, s)
			continue
		}
		var due <-chan time.Time
		if wait > 0 {
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-due:
		case <-a.arrived:
		case <-ctx.Done():
		}
	}
}

// look compares a sample, and keeps it for the next age.
func (a *auditor) look(ctx context.Context, s sample) {
	w, err := a.compare(ctx, s.inspection)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		a.failed.Add(1)
		a.rt.trouble(ctx, "audit", err)
	default:
		a.compared[s.age].Add(1)
	}
	if w != nil {
		a.wrong[s.age].Add(1)
		a.report(ctx, s, w)
	}
	if s.age++; s.age < len(a.queues) {
		s.inspection = &inspection{acc: s.acc, data: s.data, key: s.key}
		s.due = s.taken.Add(a.cfg.ages[s.age])
		a.put(s)
	}
}

func (a *auditor) compare(ctx context.Context, i *inspection) (*WrongEntry, error) {
	if err := a.rt.inspect(ctx, i); err != nil || i.wrong == nil {
		return nil, err
	}
	timer := time.NewTimer(confirmAfter)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return a.rt.confirm(ctx, i)
}

// report tells of a wrong entry, and ends it if it is to be repaired.
func (a *auditor) report(ctx context.Context, s sample, w *WrongEntry) {
	what := "the row is another"
	if w.Columns != nil {
		what = fmt.Sprintf("columns %q differ", w.Columns)
	}
	a.rt.trouble(ctx, "audit", fmt.Errorf("aside: table %s, index %s: an entry was wrong %s after it was read or should have ended: %s",
		w.Table, w.Index, time.Since(s.taken).Round(time.Millisecond), what))
	a.rt.cfg.Logger.DebugContext(ctx, "aside: a wrong entry", "key", w.Key)
	if a.cfg.Repair {
		a.rt.nodes.invalidate(ctx, []string{w.Key})
		a.repaired.Add(1)
	}
}

// figures adds what the auditor has counted; a may be nil.
func (a *auditor) figures(s *Stats) {
	if a == nil {
		return
	}
	for age := range a.queues {
		s.Audited[age], s.Inconsistent[age] = a.compared[age].Load(), a.wrong[age].Load()
	}
	s.AuditSkipped, s.AuditErrors, s.Repaired = a.skipped.Load(), a.failed.Load(), a.repaired.Load()
}

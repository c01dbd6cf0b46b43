package modelcheck

import (
	"fmt"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
)

// Property is a promise, see docs/protocol.md.
type Property int

// The promises.
const (
	P1 Property = iota // read-after-return
	P2                 // convergence
	P3                 // linearizable
	P4                 // no lost cache
	properties
)

func (p Property) String() string { return fmt.Sprintf("P%d", int(p)+1) }

// answers checks what a read returns against what was true when it began.
//
// P3 asks for more than the reads of the cache: somebody who reads the database beside it has seen every commit at once. So
// a read must not return less than was committed when it began.
func (m *model) answers(s *state, i int, v int8, how string) {
	r := &s.readers[i]
	if v < r.after {
		m.broken(P1, fmt.Sprintf("R%d %s state %d; it began after the write of state %d had returned", i+1, how, v, r.after))
	}
	if v < r.latest {
		m.broken(P3, fmt.Sprintf("R%d %s state %d; when it began, state %d was committed, and others may have read it", i+1, how, v, r.latest))
	}
}

// hit is the value that a read finds which begins now.
func (m *model) hit(s *state) (v int8, ok bool) {
	if m.Query {
		g := s.at[generation]
		valid := g.State == store.Generation && len(g.Writers) == 0 && g.Token == s.query.stamp || m.Rules.Naive
		return s.query.v, s.query.set && valid && s.query.epoch == s.epoch
	}
	e := s.at[key]
	if e.State != store.Value || int8(e.Value[1]) != s.epoch {
		return 0, false
	}
	if g := s.at[generation]; m.Stamp && (g.State != store.Generation || len(g.Writers) > 0 || g.Token != stampOf(e.Value)) {
		return 0, false
	}
	return int8(e.Value[0]), true
}

// check judges a state. A reader looks on in each: it is the one who would find what should not be there.
func (m *model) check(s *state) {
	v, ok := m.hit(s)
	if ok && v < s.returned {
		m.broken(P1, fmt.Sprintf("a read that begins now hits state %d; the write of state %d has returned", v, s.returned))
	}
	if ok && v < s.log {
		m.broken(P3, fmt.Sprintf("a read that begins now hits state %d; state %d is committed, and others may have read it", v, s.log))
	}
	if !m.quiet(s) {
		return
	}
	if ok && v < s.log {
		m.broken(P2, fmt.Sprintf("everybody is done or dead, state %d is committed, and state %d is a hit", s.log, v))
	}
	if !m.cacheable(s) {
		m.broken(P4, "everybody is done or dead, every deadline has passed, and nothing can be stored")
	}
}

// quiet tells whether everybody is done or dead, and the relay is drained.
func (m *model) quiet(s *state) bool {
	for i := range m.Readers {
		if at := s.readers[i].at; at != notStarted && at != ended && at != crashed {
			return false
		}
	}
	for i := range m.Writers {
		w := &s.writers[i]
		if w.at != notBegun && w.at != returned && w.at != dead || w.undecided() || w.again || w.row == pending {
			return false
		}
	}
	return s.late == nil
}

// cacheable tells whether a read that comes when all deadlines have passed finds a value, or stores one.
func (m *model) cacheable(s *state) bool {
	now := start.Add(2 * lives)
	if m.Query || m.Stamp {
		_, r := m.Step(*s.at[generation], store.Op{Kind: store.Stamps, Token: readerToken(most, 0), TTL: lives}, now)
		if free := protocol.Stamped([]store.Reply{r}, nil) == protocol.Load; m.Query || !free {
			return free
		}
	}
	e := *s.at[key]
	if e.State == store.Value {
		e.Expires = now.Add(time.Second).UnixMilli() // its TTL is no excuse
	}
	me := readerToken(most, 0)
	op := store.Op{Kind: store.Acquire, Token: me, TTL: lives}
	_, r := m.Step(e, op, now)
	if _, ok := m.hit(s); r.State == store.Value && !ok {
		op.Kind, op.Value = store.AcquireOver, r.Value
		_, r = m.Step(e, op, now)
	}
	if r.State == store.Value {
		return true
	}
	return protocol.Acquired(r, me, protocol.Unusable) == protocol.Load
}

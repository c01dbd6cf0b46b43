package modelcheck

import (
	"slices"

	"github.com/asidego/aside/cachedrepo/store"
)

// database is what the database does by itself.
func (m *model) database() {
	for i := range m.Writers {
		switch w := m.cur.writers[i]; {
		case w.tx == inFlight:
			s := *m.cur
			m.committed(&s, i)
			m.emit(&s, "database: W", i, "is committed")
			s = *m.cur
			s.now(i).tx = aborted
			m.emit(&s, "database: W", i, "is rolled back")
		case w.tx == open && m.Faults.Timeout:
			s := *m.cur
			s.now(i).tx = aborted
			m.emit(&s, "database: W", i, "has taken too long, and is rolled back")
		}
	}
	for k := range m.Replicas {
		if m.cur.applied[k] < m.cur.log {
			s := *m.cur
			s.applied[k]++
			m.emit(&s, "replica ", k, "has applied a commit")
		}
	}
}

// expiries end what is past its deadline. A token ends after its transaction, unless a fault says otherwise; a mark, after
// every replica has the transaction too.
func (m *model) expiries() {
	if e := m.cur.at[key]; e.State == store.Lease {
		holder := &m.cur.readers[e.Token[1]]
		if m.Faults.LeaseExpiry || holder.at == crashed {
			s := *m.cur
			s.at[key] = nothing
			m.emit(&s, "lease of R", int(e.Token[1]), "expires")
		}
	}
	for _, at := range [...]int{key, generation, mark} {
		for _, t := range m.cur.at[at].Writers {
			i := int(t.Token[1])
			w := &m.cur.writers[i]
			over := w.tx == committed || w.tx == aborted
			if at == mark {
				for k := range m.Replicas {
					over = over && (w.tx == aborted || m.cur.applied[k] >= w.pos)
				}
			} else {
				over = over || m.Faults.TokenExpiry || m.Faults.StuckCommit && w.tx == inFlight
			}
			if !over {
				continue
			}
			s := *m.cur
			m.expire(&s, at, t.Token)
			who := "token of W"
			if at == mark {
				who = "mark of W"
			}
			m.emit(&s, who, i, "expires")
		}
	}
}

func (m *model) expire(s *state, at int, t store.Token) {
	e := *s.at[at]
	e.Writers = slices.Clone(e.Writers)
	for i := range e.Writers {
		if e.Writers[i].Token == t {
			e.Writers[i].Deadline = start.UnixMilli()
		}
	}
	s.at[at] = &e
	m.do(s, at, store.Op{Kind: store.Get}) // every operation drops what is past its deadline
}

func (m *model) evictions() {
	if int(m.cur.evictions) >= m.Faults.Evictions {
		return
	}
	for at, name := range [...]string{key: "key", generation: "generation"} {
		if at == mark || m.cur.at[at].State == store.Absent {
			continue
		}
		s := *m.cur
		s.evictions++
		s.at[at] = nothing
		m.emit(&s, name+" ", -1, "is evicted")
	}
	if m.cur.query.set {
		s := *m.cur
		s.evictions++
		s.query = entry{}
		m.emit(&s, "entry ", -1, "is evicted")
	}
}

// failover is in two steps: replication stops, and then the replica takes over with what it has.
func (m *model) failover() {
	if int(m.cur.failovers) >= m.Faults.Failovers {
		return
	}
	s := *m.cur
	if m.cur.frozen == nil {
		has := m.cur.server
		s.frozen = &has
		m.emit(&s, "store ", -1, "replicates no more")
		return
	}
	s.server, s.frozen = *m.cur.frozen, nil
	s.failovers++
	if m.Epoch {
		s.epoch++
	}
	for i := range m.Writers {
		s.writers[i].waits = false // the connection is gone with the master: the operation is repeated
	}
	m.emit(&s, "store ", -1, "fails over to its replica")
}

// repeated is an operation that has run, and will be sent again: the state before, but for what it did in the store.
func (m *model) repeated(s state, i int, who, what string) {
	if int(m.cur.repeats) >= m.Faults.Repeats {
		return
	}
	n := *m.cur
	n.server, n.ops = s.server, s.ops
	n.repeats++
	if who == "W" {
		n.writers[i] = m.cur.writers[i]
		if n.writers[i].at == notBegun {
			n.writers[i] = writer{at: before, tx: open}
		}
	}
	m.emit(&n, who, i, what)
}

func (m *model) delayed() bool { return int(m.cur.lates) < m.Faults.Late && m.cur.late == nil }

func (s *state) delay(at int, op store.Op) {
	s.late = &lateOp{at, op}
	s.lates++
}

func (m *model) arrives() {
	if m.cur.late == nil {
		return
	}
	s := *m.cur
	s.late = nil
	m.do(&s, m.cur.late.at, m.cur.late.op)
	m.emit(&s, "store ", -1, "is reached by the operation that was given up")
}

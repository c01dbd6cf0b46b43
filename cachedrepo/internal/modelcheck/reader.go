package modelcheck

import (
	"fmt"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
)

// reads are the next steps of reader i. A read returns as soon as it has its answer: whatever it might still wait for
// would only let others do more before, and what it returns binds the reads that start after it.
func (m *model) reads(i int) {
	r := m.cur.readers[i]
	switch r.at {
	case notStarted:
		if i > 0 && !m.Versions && m.cur.readers[i-1].at == notStarted {
			return // readers are alike: they start in order
		}
		m.begins(i)
	case willAcquire:
		m.acquires(i)
	case willLookup:
		m.looksUp(i)
	case willMark:
		s := *m.cur
		s.loads(i, m.do(&s, mark, store.Op{Kind: store.Get}).State == store.Intent)
		m.emit(&s, "R", i, "looks for the mark")
	case willQuery:
		m.queries(i)
	case willFill:
		m.fills(i)
	}
	if m.Faults.ReaderCrash && r.at != notStarted && r.at != ended && r.at != crashed {
		m.crashes(i)
	}
}

func (m *model) begins(i int) {
	s := *m.cur
	r := &s.readers[i]
	*r = reader{after: s.returned, latest: s.log, snap: s.log, epoch: s.epoch}
	if m.Rules.JoinAny {
		for j := range m.Readers {
			if m.flies(&s, i, j) {
				m.joins(&s, i, j)
				m.emit(&s, "R", i, "begins, joins the load that is running")
				return
			}
		}
	}
	if m.Rules.MarkBeforeLease && m.do(&s, mark, store.Op{Kind: store.Get}).State == store.Intent {
		r.primary = true
	}
	if m.Query || m.Stamp {
		reply := m.do(&s, generation, store.Op{Kind: store.Stamps, Token: readerToken(i, 0)})
		m.repeated(s, i, "R", "reads the generation, hears nothing, will ask again")
		r.at, r.stamp, r.held = willLookup, reply.Token, reply.Held
		m.emit(&s, "R", i, "begins, reads the generation")
		return
	}
	m.looks(&s, i, "begins, ")
}

// looks is GET.
func (m *model) looks(s *state, i int, how string) {
	r := &s.readers[i]
	reply := m.do(s, key, store.Op{Kind: store.Get})
	v := protocol.Unusable
	if reply.State == store.Value {
		v = m.verdict(s, i, reply.Value)
	}
	move := protocol.Looked(reply.State, v)
	if m.Rules.Naive && (move == protocol.Acquire || move == protocol.TakeOver) {
		move, r.lease = protocol.Load, true
	}
	if move == protocol.TakeOver {
		r.seen = reply.Value
	}
	m.follows(s, i, move, reply, how+"looks")
}

// follows is what a reader does after a reply.
func (m *model) follows(s *state, i int, move protocol.Move, reply store.Reply, how string) {
	r := &s.readers[i]
	switch move {
	case protocol.Return:
		m.answers(s, i, int8(reply.Value[0]), "hits")
		s.readers[i] = reader{at: ended}
		m.emit(s, "R", i, how+": a hit")
	case protocol.Acquire, protocol.TakeOver:
		r.at, r.move = willAcquire, move
		if move == protocol.Acquire {
			m.emit(s, "R", i, how+": nothing there")
		} else {
			m.emit(s, "R", i, how+": a value that it may not use")
		}
	case protocol.Load:
		r.lease = true
		s.loads(i, m.marked(r))
		m.emit(s, "R", i, how+": the lease is its own")
	case protocol.Share:
		m.shares(s, i, reply, how)
	default:
		r.primary = r.primary || reply.State == store.Intent
		m.asks(s, i, how+": will ask the database and store nothing")
	}
}

// asks is a read that stores nothing. Of the primary it can only be right, whenever it comes, and nobody hears of it: then it
// ends here.
func (m *model) asks(s *state, i int, how string) {
	if r := &s.readers[i]; r.primary || m.Replicas == 0 && !m.Rules.OldSnapshot {
		*r = reader{at: ended}
	} else {
		s.loads(i, m.marked(r))
	}
	m.emit(s, "R", i, how)
}

// marked tells whether the reader is past its look for the mark, or needs none.
func (m *model) marked(r *reader) bool { return r.primary || !m.Marks || m.Rules.MarkBeforeLease }

// loads puts reader i before its query, or before its look for the mark.
func (s *state) loads(i int, known bool) {
	r := &s.readers[i]
	if r.at == willMark {
		r.at, r.primary = willQuery, known
		return
	}
	r.at = willQuery
	if !known {
		r.at = willMark
	}
}

func (m *model) shares(s *state, i int, reply store.Reply, how string) {
	known := -1
	for j := range m.Readers {
		// With Stamp the lease alone does not do: a change of the whole table leaves leases as they are.
		if m.Stamp && !m.Rules.JoinOldStamp && s.readers[i].stamp != s.readers[j].stamp {
			continue
		}
		if m.flies(s, i, j) && (m.Rules.UnconditionalJoin || protocol.Joins(reply.Token, readerToken(j, s.readers[j].tries), true)) {
			known = j
		}
	}
	again := int(s.readers[i].tries)+1 < m.Attempts
	for _, patient := range [2]bool{false, true} {
		if patient && !again {
			break
		}
		n := *s
		switch protocol.Held(known >= 0, patient) {
		case protocol.Share:
			m.joins(&n, i, known)
			m.emit(&n, "R", i, how+": the lease of a load that it joins")
			return
		case protocol.Wait:
			n.readers[i].tries++
			n.readers[i].epoch = n.epoch
			m.looks(&n, i, how+": another's lease; waits, ")
		default:
			m.asks(&n, i, how+": another's lease; will ask the database and store nothing")
		}
	}
}

// flies tells whether reader j has a load that reader i could find in its process.
func (m *model) flies(s *state, i, j int) bool {
	r := &s.readers[j]
	return m.Together && i != j && r.lease && (r.at == willMark || r.at == willQuery || r.at == willFill)
}

func (m *model) joins(s *state, i, j int) {
	if s.readers[j].at == willFill {
		m.answers(s, i, s.readers[j].got, "joins a load that has")
		s.readers[i] = reader{at: ended}
		return
	}
	r := &s.readers[i]
	*r = reader{at: joined, on: int8(j), after: r.after, latest: r.latest}
}

func (m *model) acquires(i int) {
	s := *m.cur
	r := &s.readers[i]
	token := readerToken(i, r.tries)
	op := store.Op{Kind: store.Acquire, Token: token}
	if r.move == protocol.TakeOver {
		op.Kind, op.Value = store.AcquireOver, r.seen
	}
	was := s.at[key]
	reply := m.do(&s, key, op)
	m.repeated(s, i, "R", "asks for the lease, hears nothing, will ask again")
	if reply.State == store.Lease && reply.Token == token {
		m.takes(&s, i, was)
	}
	v := protocol.Unusable
	if reply.State == store.Value {
		v = m.verdict(&s, i, reply.Value)
	}
	move := protocol.Acquired(reply, token, v)
	if move == protocol.TakeOver {
		// Another value that cannot be used: look again.
		if int(r.tries)+1 < m.Attempts {
			r.tries++
			r.epoch = s.epoch
			m.looks(&s, i, "asks for the lease: another value; ")
			return
		}
		move = protocol.Database
	}
	r.seen, r.move = nil, 0
	m.follows(&s, i, move, reply, "asks for the lease")
	if m.delayed() {
		s := *m.cur
		s.delay(key, op)
		r := &s.readers[i]
		r.seen, r.move = nil, 0
		m.asks(&s, i, "asks for the lease and gives up; will ask the database and store nothing")
	}
}

// takes checks what a lease was taken from: not from a load that runs, and not from a value that its reader could use, or a
// newer version of the program. Were it otherwise, two readers could do so by turns for ever, and nothing would be cached.
func (m *model) takes(s *state, i int, was *store.Entry) {
	switch was.State {
	case store.Value:
		if int8(was.Value[1]) == s.epoch && int8(was.Value[2]) >= m.version(i) && stampOf(was.Value) == s.readers[i].stamp {
			m.broken(P4, fmt.Sprintf("R%d has taken a good value away, and others can do so by turns for ever", i+1))
		}
	case store.Lease:
		if was.Token != readerToken(i, s.readers[i].tries) {
			m.broken(P4, fmt.Sprintf("R%d has taken another's lease away, and others can do so by turns for ever", i+1))
		}
	}
}

func (m *model) looksUp(i int) {
	s := *m.cur
	if m.Stamp {
		if s.readers[i].held {
			s.readers[i].primary = true
			m.asks(&s, i, "finds tokens in the generation: will ask the database and store nothing")
			return
		}
		m.looks(&s, i, "")
		return
	}
	r := &s.readers[i]
	now := [1]store.Reply{{State: store.Generation, Token: r.stamp, Held: r.held}}
	var stamps []store.Token
	if s.query.set && s.query.epoch == s.epoch {
		stamps = []store.Token{s.query.stamp}
	}
	move := protocol.Stamped(now[:], stamps)
	if m.Rules.Naive {
		move = protocol.Load
		if s.query.set {
			move = protocol.Return
		}
	}
	r.held = false
	switch move {
	case protocol.Return:
		m.answers(&s, i, s.query.v, "hits")
		s.readers[i] = reader{at: ended}
		m.emit(&s, "R", i, "looks up the entry: a hit")
	case protocol.Load:
		for j := range m.Readers {
			if m.flies(&s, i, j) && protocol.Joins(r.stamp, s.readers[j].stamp, true) {
				m.joins(&s, i, j)
				m.emit(&s, "R", i, "looks up the entry: a miss; joins a load with the same generation")
				return
			}
		}
		r.lease = true
		s.loads(i, m.marked(r))
		m.emit(&s, "R", i, "looks up the entry: a miss")
	default:
		r.primary, r.stamp = true, store.Token{}
		m.asks(&s, i, "finds tokens in the generation: will ask the database and store nothing")
	}
}

// queries is the database's answer, from any server that the reader may ask.
func (m *model) queries(i int) {
	r := &m.cur.readers[i]
	if m.Rules.OldSnapshot {
		m.reads1(i, r.snap, "reads in the snapshot that it has had from its beginning")
		return
	}
	if r.primary || m.Replicas == 0 {
		m.reads1(i, m.cur.log, "reads the database")
		return
	}
	for k := range m.Replicas {
		if k > 0 && m.cur.applied[k] == m.cur.applied[0] {
			continue
		}
		m.reads1(i, m.cur.applied[k], "reads a replica")
	}
}

func (m *model) reads1(i int, v int8, how string) {
	s := *m.cur
	m.answers(&s, i, v, "reads")
	for j := range m.Readers {
		if o := &s.readers[j]; o.at == joined && int(o.on) == i {
			m.answers(&s, j, v, "has joined a load that reads")
			*o = reader{at: ended}
		}
	}
	r := &s.readers[i]
	if r.lease {
		*r = reader{at: willFill, lease: true, tries: r.tries, got: v, epoch: r.epoch, stamp: r.stamp}
	} else {
		*r = reader{at: ended}
	}
	m.emit(&s, "R", i, how)
}

func (m *model) fills(i int) {
	s := *m.cur
	r := &s.readers[i]
	epoch := r.epoch
	if m.Rules.EpochAtFill {
		epoch = s.epoch
	}
	got, token, stamp := r.got, readerToken(i, r.tries), r.stamp
	op := store.Op{Kind: store.Fill, Token: token, Value: m.value(i, got, epoch, stamp)}
	switch {
	case m.Query:
		s.query = entry{true, got, epoch, stamp}
		if m.Rules.Naive {
			s.query.stamp = store.Token{}
		}
	case m.Rules.Naive:
		s.at[key] = &store.Entry{State: store.Value, Value: op.Value, Expires: start.Add(lives).UnixMilli()}
	default:
		m.do(&s, key, op)
		m.repeated(s, i, "R", "fills, hears nothing, will fill again")
	}
	s.readers[i] = reader{at: ended}
	m.emit(&s, "R", i, "fills")
	if !m.Query && !m.Rules.Naive && m.delayed() {
		s := *m.cur
		s.delay(key, op)
		s.readers[i] = reader{at: ended}
		m.emit(&s, "R", i, "fills, and gives up before it has arrived")
	}
}

// crashes ends a reader's process, with the readers that have joined its flight.
func (m *model) crashes(i int) {
	s := *m.cur
	s.readers[i] = reader{at: crashed}
	for j := range m.Readers {
		if o := &s.readers[j]; o.at == joined && int(o.on) == i {
			*o = reader{at: crashed}
		}
	}
	m.emit(&s, "R", i, "dies")
}

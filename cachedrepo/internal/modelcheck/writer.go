package modelcheck

import (
	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/txhooks"
)

// writes are the next steps of the transaction of writer i. Its statements are left out: nobody sees them before COMMIT.
func (m *model) writes(i int) {
	w := m.cur.writers[i]
	switch w.at {
	case notBegun:
		if i > 0 && !m.Mixed && !m.Stamp && m.cur.writers[i-1].at == notBegun {
			return // writers are alike: they begin in order
		}
		s := *m.cur
		s.writers[i] = writer{at: before, tx: open}
		m.prepares(s, i)
		return
	case before:
		m.prepares(*m.cur, i)
	case atCommit:
		m.commits(i)
	case after:
		m.settles(i)
	}
	if m.Faults.WriterCrash && (w.at == before || w.at == atCommit || w.at == after) {
		s := *m.cur
		s.dies(i)
		m.emit(&s, "W", i, "dies")
	}
	if w.again && !w.undecided() {
		// The last of the repeated invalidations, if that is late enough.
		s := *m.cur
		s.writers[i].again = false
		m.acts(&s, i, protocol.Invalidate)
		m.emit(&s, "W", i, "invalidates again")
	}
}

func (w *writer) undecided() bool { return w.tx == open || w.tx == inFlight }

func (s *state) dies(i int) {
	w := &s.writers[i]
	w.at, w.step, w.again, w.waits = dead, 0, false, false
	if w.tx == open {
		w.tx = aborted
	}
}

// before are the steps before COMMIT.
func (m *model) before(i int) []protocol.Step {
	if m.Rules.Naive {
		if m.Rules.DeleteFirst || m.Rules.DeleteTwice {
			return []protocol.Step{protocol.Invalidate}
		}
		return nil
	}
	if m.Rules.BumpBeforeOnly {
		return []protocol.Step{protocol.Invalidate}
	}
	steps := protocol.Before(m.mode(i))
	if m.Rules.MarkAfter {
		steps = swapped(steps)
	}
	return steps
}

func (m *model) after(i int, o txhooks.Outcome) []protocol.Step {
	switch {
	case m.Rules.Naive && m.Rules.DeleteFirst, m.Rules.BumpBeforeOnly:
		return nil
	case m.Rules.ReleaseInDoubt && o == txhooks.InDoubt && m.mode(i).Strict:
		o = txhooks.Committed
	}
	steps := protocol.After(m.mode(i), o)
	if m.Rules.MarkAfter {
		steps = swapped(steps)
	}
	return steps
}

func swapped(steps []protocol.Step) []protocol.Step {
	if len(steps) == 2 {
		return []protocol.Step{steps[1], steps[0]}
	}
	return steps
}

// act is the operation of a step.
func (m *model) act(i int, step protocol.Step) (at int, op store.Op) {
	op = store.Op{Kind: step.Kind(), Token: writerToken(i)}
	switch {
	case step == protocol.Mark:
		at = mark
	case m.Query || m.Stamp && i == 1:
		at, op.Kind = generation, step.OnGeneration()
	}
	return at, op
}

func (m *model) acts(s *state, i int, step protocol.Step) {
	at, op := m.act(i, step)
	if m.Rules.Naive {
		s.at[key], s.query = nothing, entry{}
		return
	}
	m.do(s, at, op)
}

func (s *state) now(i int) *writer { return &s.writers[i] }

// prepares is one step before COMMIT.
func (m *model) prepares(s state, i int) {
	steps := m.before(i)
	w := s.now(i)
	if int(w.step) == len(steps) { // nothing to prepare
		w.at, w.step = atCommit, 0
		m.commitsFrom(s, i)
		return
	}
	step := steps[w.step]
	if w.waits {
		m.waited(s, i, func(n *state) { n.steps(i, len(steps), atCommit) })
		return
	}
	n := s
	m.acts(&n, i, step)
	m.repeated(n, i, "W", "announces, hears nothing, will repeat it")
	if m.Wait && step != protocol.Mark {
		n.now(i).waits = true
	} else {
		n.steps(i, len(steps), atCommit)
	}
	m.emit(&n, "W", i, "before COMMIT: "+stepNames[step])
	if m.Faults.Away {
		n := s
		n.steps(i, len(steps), atCommit)
		m.emit(&n, "W", i, "before COMMIT: cannot reach the store, and goes on")
	}
	if m.delayed() {
		at, op := m.act(i, step)
		// Nobody knows whether it has arrived: rolled back, and the steps that follow.
		n := s
		n.delay(at, op)
		n.now(i).tx = aborted
		m.ends(&n, i, txhooks.RolledBack)
		m.emit(&n, "W", i, "before COMMIT: "+stepNames[step]+", hears nothing, rolls back")
	}
}

var stepNames = [...]string{
	protocol.Mark: "sets the mark", protocol.Intend: "adds its token", protocol.Invalidate: "invalidates",
	protocol.Release: "removes its token", protocol.InvalidateAgain: "will invalidate again",
}

// steps goes on to the next step, or to what follows the last.
func (s *state) steps(i, of int, then writerAt) {
	w := s.now(i)
	if w.step++; int(w.step) == of {
		w.at, w.step = then, 0
	}
}

// waited is the answer of the store's replica to WAIT: it has everything now.
func (m *model) waited(s state, i int, then func(*state)) {
	s.now(i).waits = false
	s.frozen = nil
	then(&s)
	m.emit(&s, "W", i, "hears that the replica of the store has it")
}

func (m *model) commits(i int) { m.commitsFrom(*m.cur, i) }

func (m *model) commitsFrom(s state, i int) {
	if m.Faults.WriterCrash && s.now(i).tx == open {
		n := s
		n.dies(i)
		n.now(i).tx = inFlight
		m.emit(&n, "W", i, "sends COMMIT and dies")
	}
	if m.Faults.InDoubt && s.now(i).tx == open {
		n := s
		n.now(i).tx = inFlight
		m.ends(&n, i, txhooks.InDoubt)
		m.emit(&n, "W", i, "sends COMMIT and never hears of it")
	}
	if m.Faults.Rollback || s.now(i).tx == aborted {
		n := s
		n.now(i).tx = aborted
		m.ends(&n, i, txhooks.RolledBack)
		m.emit(&n, "W", i, "is rolled back")
	}
	if s.now(i).tx == open {
		m.committed(&s, i)
		m.ends(&s, i, txhooks.Committed)
		m.emit(&s, "W", i, "commits")
	}
}

// committed is the moment at which others see the transaction.
func (m *model) committed(s *state, i int) {
	w := s.now(i)
	s.log++
	w.tx, w.pos = committed, s.log
	if m.Outbox {
		w.row = pending
	}
}

// ends begins the steps after the outcome.
func (m *model) ends(s *state, i int, o txhooks.Outcome) {
	w := s.now(i)
	w.at, w.step, w.outcome, w.waits = after, 0, int8(o), false
	m.skips(s, i)
}

// skips passes what is done later, and returns when nothing is left.
func (m *model) skips(s *state, i int) {
	w := s.now(i)
	steps := m.after(i, txhooks.Outcome(w.outcome))
	for int(w.step) < len(steps) && steps[w.step] == protocol.InvalidateAgain {
		w.again = !m.Rules.NeverAgain
		w.step++
	}
	if int(w.step) >= len(steps) {
		s.comesBack(i)
	}
}

func (s *state) comesBack(i int) {
	w := s.now(i)
	if txhooks.Outcome(w.outcome) == txhooks.Committed && !w.late {
		s.returned = max(s.returned, w.pos)
	}
	w.at, w.step, w.outcome, w.waits, w.late = returned, 0, 0, false, false
}

// settles is one step after the outcome.
func (m *model) settles(i int) {
	w := m.cur.writers[i]
	steps := m.after(i, txhooks.Outcome(w.outcome))
	step := steps[w.step]
	if w.waits {
		m.waited(*m.cur, i, func(n *state) { n.now(i).step++; m.skips(n, i) })
		return
	}
	n := *m.cur
	m.acts(&n, i, step)
	m.repeated(n, i, "W", "settles, hears nothing, will repeat it")
	if m.Wait && step != protocol.Mark {
		n.now(i).waits = true
	} else {
		n.now(i).step++
		m.skips(&n, i)
	}
	m.emit(&n, "W", i, stepNames[step])
	if n.now(i).at == returned && n.now(i).row == pending && txhooks.Outcome(w.outcome) == txhooks.Committed && !w.late {
		n.now(i).row = acknowledged
		m.emit(&n, "W", i, stepNames[step]+", and acknowledges its outbox row")
	}
	if m.Faults.Unreachable {
		n := *m.cur
		n.comesBack(i)
		m.emit(&n, "W", i, "cannot reach the store, and returns success")
	}
	if m.delayed() {
		at, op := m.act(i, step)
		n := *m.cur
		n.delay(at, op)
		n.now(i).late = true
		n.now(i).step++
		m.skips(&n, i)
		m.emit(&n, "W", i, stepNames[step]+", and gives up before it has arrived")
	}
}

// relays is the relay at the outbox row of writer i.
func (m *model) relays(i int) {
	w := m.cur.writers[i]
	if w.row != pending {
		return
	}
	steps := protocol.Relayed(m.mode(i))
	s := *m.cur
	if m.Rules.BlindRelay {
		s.at[key] = nothing
		s.now(i).row = acknowledged
		m.emit(&s, "relay, row of W", i, "deletes the key")
		return
	}
	m.acts(&s, i, steps[w.relay])
	if s.now(i).relay++; int(s.now(i).relay) == len(steps) {
		s.now(i).relay = 0
		if m.Faults.RelayCrash && m.cur.relayRepeats == 0 {
			n := s
			n.relayRepeats++
			m.emit(&n, "relay, row of W", i, stepNames[steps[w.relay]]+", and dies before it has acknowledged the row")
		}
		s.now(i).row = acknowledged
	}
	m.emit(&s, "relay, row of W", i, stepNames[steps[w.relay]])
}

package modelcheck

import "github.com/asidego/aside/cachedrepo/store"

// code is a state, packed: two states are the same if their codes are.
type code [8]uint64

// encode keeps what distinguishes a state. Nonces of generations are numbered in the order in which they turn up: only which
// of them are the same counts. What cannot make a difference any more is left out.
func (m *model) encode(s *state) (c code) {
	n := nonces{exact: m.exact}
	if m.Query && !m.exact {
		n.live[0] = s.at[generation].Token
		if s.frozen != nil {
			n.live[1] = s.frozen.at[generation].Token
		}
		for i := range m.Readers {
			if s.readers[i].at == willLookup {
				n.live[2+i] = s.readers[i].stamp
			}
		}
	}
	c[0] = packServer(&s.server, &n)
	if s.frozen != nil {
		c[1] = packServer(s.frozen, &n) | 1<<63
	}
	var p packed
	p.put(3, s.epoch, s.log, s.applied[0], s.applied[1], s.returned, s.evictions, s.failovers, s.repeats, s.lates, s.relayRepeats)
	c[2] = p.bits
	for i := range m.Readers {
		c[3+i] = m.packReader(s, i, &n)
	}
	p = packed{}
	for i := range m.Writers {
		w := s.writers[i]
		if (w.at == returned || w.at == dead) && !w.undecided() && !w.again && w.row != pending {
			// Only its tokens are left.
			w.at, w.row = returned, noRow
			if m.Replicas == 0 {
				w.tx, w.pos = committed, 0
			}
		}
		p.put(3, int8(w.at), w.step, int8(w.tx), w.pos, w.outcome, int8(w.row))
		p.put(2, w.relay, bit(w.again)|2*bit(w.late))
		p.put(1, bit(w.waits))
	}
	c[6] = p.bits
	if l := s.late; l != nil {
		var p packed
		p.put(8, int8(l.at), int8(l.op.Kind), int8(l.op.Token[0]), int8(l.op.Token[1]), int8(l.op.Token[2]))
		if len(l.op.Value) > 0 {
			p.put(8, indexOf(l.op.Value))
		}
		c[7] = p.bits | 1<<63
	}
	return c
}

func (m *model) packReader(s *state, i int, n *nonces) uint64 {
	r := s.readers[i]
	if r.at == willQuery && (r.primary || m.Replicas == 0) {
		r.after, r.latest = 0, 0 // what it reads cannot be too old
	}
	if r.at == crashed && s.frozen == nil && s.late == nil && (s.at[key].State != store.Lease || int(s.at[key].Token[1]) != i) {
		r.at = ended // nobody will miss it
	}
	stamp := n.number(r.stamp)
	if stamp == worthless {
		r.got = 0
	}
	if !m.Rules.OldSnapshot {
		r.snap = 0
	}
	var p packed
	p.put(4, int8(r.at), int8(r.move), stamp)
	if r.seen != nil {
		p.put(7, indexOf(r.seen))
		p.put(4, n.number(stampOf(r.seen)))
	} else {
		p.put(11, 0)
	}
	p.put(3, r.got, r.epoch, r.after, r.latest, r.on, r.snap, r.tries)
	p.put(1, bit(r.lease), bit(r.primary), bit(r.held))
	return p.bits
}

func packServer(v *server, n *nonces) uint64 {
	var p packed
	stamp := int8(0) // of the value
	for at, e := range v.at {
		set := int8(0)
		for _, w := range e.Writers {
			set |= 1 << w.Token[1]
		}
		p.put(3, int8(e.State), set)
		switch {
		case at == mark:
		case e.State == store.Value:
			p.put(7, indexOf(e.Value))
			if at == key {
				stamp = n.number(stampOf(e.Value))
			}
		case e.State == store.Lease:
			p.put(3, int8(e.Token[1]), int8(e.Token[2]))
			p.put(1, 0)
		case e.State == store.Generation:
			p.put(4, n.number(e.Token))
			p.put(3, 0)
		default:
			p.put(7, 0)
		}
	}
	p.put(4, stamp)
	if q := v.query; q.set {
		if stamp := n.number(q.stamp); stamp != worthless {
			p.put(4, stamp)
			p.put(3, q.v, q.epoch)
			p.put(1, 1)
		}
	}
	return p.bits
}

// packed is a number of small ones.
type packed struct {
	bits uint64
	at   int
}

func (p *packed) put(width int, all ...int8) {
	for _, v := range all {
		if v < 0 || int(v) >= 1<<width || p.at+width > 63 {
			panic("modelcheck: a state does not fit its code")
		}
		p.bits |= uint64(v) << p.at
		p.at += width
	}
}

func bit(b bool) int8 {
	if b {
		return 1
	}
	return 0
}

// worthless is any nonce that is neither a generation's nor the stamp of a reader who has yet to look up the entry: as no
// nonce comes back, which model.do asserts, nothing will ever be compared with it and be the same.
const worthless = 15

type nonces struct {
	exact bool
	live  [2 + most]store.Token
	known [12]store.Token
	count int8
}

func (n *nonces) number(t store.Token) int8 {
	if t == (store.Token{}) {
		return 0
	}
	if n.exact {
		if [8]byte(t[8:]) == [8]byte{} { // not made by Step: it may come back as what it is
			return int8(8 + t[0] + t[1] + t[7])
		}
	} else if !n.alive(t) {
		return worthless
	}
	for i := range n.count {
		if n.known[i] == t {
			return i + 1
		}
	}
	n.known[n.count] = t
	n.count++
	return n.count
}

func (n *nonces) alive(t store.Token) bool {
	for i := range n.live {
		if n.live[i] == t {
			return true
		}
	}
	return false
}

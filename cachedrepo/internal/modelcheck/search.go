package modelcheck

import (
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// Verdict is the result of a search.
type Verdict struct {
	States int  // different ones
	Depth  int  // of the longest of the shortest ways to a state
	Whole  bool // every state was seen
	found  [properties]violation
}

type violation struct {
	is    bool
	state int32 // index of the state it was found in, or of the one before the step that broke it
	last  uint16
	step  bool // broken by the step last
	text  string
}

// Broken tells whether some history breaks p.
func (v *Verdict) Broken(p Property) bool { return v.found[p].is }

// Kept is the line of a table: P1 to P4.
func (v *Verdict) Kept() (kept [4]bool) {
	for p := range properties {
		kept[p] = !v.found[p].is
	}
	return kept
}

// node is how a state was first reached: breadth first, hence by a shortest way.
type node struct {
	from int32
	by   uint16 // which successor of from
}

type search struct {
	model
	seen    map[code]struct{}
	nodes   []node
	verdict Verdict
	until   [properties]bool // stop when all of these are broken
}

// Search explores c breadth first, to the end or to its limit. Where stop names properties, it ends as soon as all of these
// are broken.
func Search(c Config, stop ...Property) *Result {
	s := newSearch(c)
	for _, p := range stop {
		s.until[p] = true
	}
	s.run(len(stop) > 0)
	return &Result{Verdict: s.verdict, config: c, nodes: s.nodes}
}

func newModel(c Config) model {
	exact := c.Step != nil || c.Stamp
	if c.Step == nil {
		c.Step = store.Step
	}
	c.Attempts = max(1, c.Attempts)
	if c.Readers > most || c.Writers > most {
		panic("modelcheck: too many readers or writers")
	}
	return model{Config: c, exact: exact}
}

func initial() (s state) {
	for at := range s.at {
		s.at[at] = nothing
	}
	return s
}

func newSearch(c Config) *search {
	return &search{model: newModel(c), seen: make(map[code]struct{})}
}

func (x *search) run(early bool) {
	level := []state{initial()}
	x.nodes = append(x.nodes, node{from: -1})
	x.add(&level[0])
	first := int32(0) // index of the first state of level
	for ; len(level) > 0; x.verdict.Depth++ {
		var next []state
		for i := range level {
			at := first + int32(i)
			x.successors(&level[i], func(p Property, text string) {
				x.violated(p, violation{true, at, uint16(len(x.next)), true, text})
			})
			for k := range x.next {
				n := &x.next[k]
				if !x.add(n) {
					continue
				}
				x.nodes = append(x.nodes, node{at, uint16(k)})
				x.broken = func(p Property, text string) {
					x.violated(p, violation{true, int32(len(x.nodes) - 1), 0, false, text})
				}
				x.check(n)
				next = append(next, *n)
			}
			if early && x.enough() || i%1024 == 0 && x.late() {
				x.verdict.States = len(x.nodes)
				return
			}
		}
		first += int32(len(level))
		level = next
	}
	x.verdict.States, x.verdict.Whole = len(x.nodes), true
}

// late tells whether the time is over, or the memory that a search may take.
func (x *search) late() bool {
	return !x.Until.IsZero() && time.Now().After(x.Until) || len(x.nodes) >= mostStates
}

const mostStates = 20_000_000

func (x *search) violated(p Property, v violation) {
	if !x.verdict.found[p].is {
		x.verdict.found[p] = v
	}
}

func (x *search) enough() bool {
	for p, wanted := range x.until {
		if wanted && !x.verdict.found[p].is {
			return false
		}
	}
	return true
}

// successors fills next with the states that follow s.
func (m *model) successors(s *state, broken func(Property, string)) {
	m.cur, m.next, m.events, m.broken = s, m.next[:0], m.events[:0], broken
	for i := range m.Readers {
		m.reads(i)
	}
	for i := range m.Writers {
		m.writes(i)
	}
	for i := range m.Writers {
		m.relays(i)
	}
	m.arrives()
	m.database()
	m.expiries()
	m.evictions()
	m.failover()
}

// add tells whether a state is new.
func (x *search) add(s *state) bool {
	n := len(x.seen)
	x.seen[x.encode(s)] = struct{}{}
	return len(x.seen) > n
}

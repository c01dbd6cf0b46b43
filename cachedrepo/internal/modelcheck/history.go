package modelcheck

import (
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/store"
)

// Result is a verdict, and what is needed to tell how it came about.
type Result struct {
	Verdict
	config Config
	nodes  []node
}

// History is a shortest history that breaks p, one line a step, with what it leaves behind; empty if p is kept.
func (r *Result) History(p Property) string {
	found := r.found[p]
	if !found.is {
		return ""
	}
	var path []uint16
	for at := found.state; at > 0; at = r.nodes[at].from {
		path = append(path, r.nodes[at].by)
	}
	slices.Reverse(path)
	if found.step {
		path = append(path, found.last)
	}
	m := newModel(r.config)
	m.trace = true
	var b strings.Builder
	fmt.Fprintf(&b, "%s is broken:\n", p)
	s := initial()
	for n, by := range path {
		m.successors(&s, func(Property, string) {})
		if int(by) >= len(m.next) {
			break
		}
		ev, next := m.events[by], m.next[by]
		who := ev.who
		if ev.n > 0 {
			who += fmt.Sprint(ev.n)
		}
		if strings.HasSuffix(ev.what, "commits") || strings.HasSuffix(ev.what, "is committed") {
			ev.what += fmt.Sprintf(": state %d", next.log)
		}
		fmt.Fprintf(&b, "%3d. %-52s %s\n", n+1, strings.TrimSpace(who)+" "+ev.what, m.shows(&s, &next))
		s = next
	}
	fmt.Fprintf(&b, "     %s\n", found.text)
	return b.String()
}

// shows is what a step has changed in the store.
func (m *model) shows(old, now *state) string {
	var parts []string
	for at, name := range [...]string{"key", "mark", "generation"} {
		if !now.at[at].Equal(*old.at[at]) {
			parts = append(parts, name+" = "+m.entry(*now.at[at]))
		}
	}
	if q := now.query; q != old.query {
		if q.set {
			parts = append(parts, fmt.Sprintf("entry = state %d, stamp %x", q.v, q.stamp[:2]))
		} else {
			parts = append(parts, "entry = absent")
		}
	}
	return strings.Join(parts, ", ")
}

func (m *model) entry(e store.Entry) string {
	var ws []string
	for _, w := range e.Writers {
		ws = append(ws, fmt.Sprintf("W%d", w.Token[1]+1))
	}
	switch e.State {
	case store.Value:
		s := fmt.Sprintf("value, state %d", e.Value[0])
		if m.Epoch {
			s += fmt.Sprintf(" of epoch %d", e.Value[1])
		}
		if m.Versions {
			s += fmt.Sprintf(" of version %d", e.Value[2])
		}
		if m.Stamp {
			s += fmt.Sprintf(", stamp %x", e.Value[3:5])
		}
		return s
	case store.Lease:
		return fmt.Sprintf("lease of R%d", e.Token[1]+1)
	case store.Intent:
		return "intent of " + strings.Join(ws, ", ")
	case store.Generation:
		if len(ws) > 0 {
			return fmt.Sprintf("%x with tokens of %s", e.Token[:2], strings.Join(ws, ", "))
		}
		return fmt.Sprintf("%x", e.Token[:2])
	}
	return "absent"
}

package soak

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

func (w *write) String() string {
	return fmt.Sprintf("%s of %s by %s", w.how, number(w.op), w.by)
}

func (r read) String() string {
	return fmt.Sprintf("%s by %s read %s", r.how, r.by, number(r.val))
}

// number shows an operation as child.count.
func number(op int64) string {
	if op == 0 {
		return "no row"
	}
	return fmt.Sprintf("%d.%d", op>>24, op&(1<<24-1))
}

// shown bounds how many lines of a history are printed.
const shown = 40

// window shows what happened to a register between two moments, in the order in which it began, and the faults.
func (h *history) window(v violation) string {
	type line struct {
		call, ret int64
		text      string
	}
	var lines []line
	for _, r := range h.reads[v.Reg] {
		lines = append(lines, line{r.call, r.ret, r.String()})
	}
	committed := make(map[int64]bool)
	for i, at := range h.order[v.Reg] {
		if at.write != nil {
			committed[at.op] = true
			text := fmt.Sprintf("%s, commit %d of this register, to its caller: %s", at.write, i, at.outcome)
			if at.val == 0 {
				text += "; leaves no row"
			}
			if at.pending {
				text += ", invalidation pending"
			}
			lines = append(lines, line{at.call, at.ret, text})
		}
	}
	for _, s := range h.struck {
		lines = append(lines, line{s.from, s.to, "FAULT " + s.fault.String()})
	}
	lines = slices.DeleteFunc(lines, func(l line) bool { return l.ret < v.From || l.call > v.To })
	slices.SortStableFunc(lines, func(a, b line) int { return cmp.Compare(a.call, b.call) })
	start := v.From
	if len(lines) > 0 {
		start = lines[0].call
	}
	var b strings.Builder
	skipped := 0
	for i, l := range lines {
		if i >= shown/2 && i < len(lines)-shown/2 {
			skipped++
			continue
		}
		if skipped > 0 {
			fmt.Fprintf(&b, "    ... %d more\n", skipped)
			skipped = 0
		}
		end := "-"
		if l.ret < never {
			end = millis(l.ret - start)
		}
		fmt.Fprintf(&b, "    %10s to %10s  %s\n", millis(l.call-start), end, l.text)
	}
	return b.String()
}

func millis(ns int64) string {
	return fmt.Sprintf("%.3fms", float64(ns)/float64(time.Millisecond))
}

// worst sorts violations by how much there is to learn from them: what a caller was told before what an entry was left at,
// the shortest window first, and each register once for each property.
func worst(all []violation) (some []violation) {
	all = slices.Clone(all)
	quiet := func(v violation) int { return btoi(v.Property == "P2" || v.Property == "P4") }
	slices.SortStableFunc(all, func(a, b violation) int {
		return cmp.Or(cmp.Compare(quiet(a), quiet(b)), cmp.Compare(a.To-a.From, b.To-b.From))
	})
	type shownAs struct{ property, reg string }
	seen := make(map[shownAs]bool)
	for _, v := range all {
		if as := (shownAs{v.Property, v.Reg}); !seen[as] {
			seen[as] = true
			some = append(some, v)
		}
	}
	return some
}

package soak

import (
	"math"
	"slices"
)

// history is what one round was told by everybody, sorted by register.
type history struct {
	reads  map[string][]read
	writes map[int64]*write
	failed map[string]int // reads that failed, by error
	order  map[string][]*version
	struck []struck
}

// read is one register of a read; a read of several is one of each, with the same interval.
type read struct {
	by        string // the child
	spawn     int64
	how       string
	call, ret int64
	val       int64
	at        int // the position in the register's order of what it read, see resolve
}

// write is what one transaction was asked and what its caller was told.
type write struct {
	by        string
	spawn     int64
	op        int64
	how       string
	call, ret int64 // ret is never if nobody was told
	outcome   string
	err       string
	pending   bool
	seen      int64 // when it was surely committed: told, or read by somebody, or found after its process was gone; never: it was not
}

// version is what a register held from a commit on. The first of a round's is what was there when it began, and has no
// write.
type version struct {
	val int64
	*write
}

const never = math.MaxInt64

// note is a row of the table notes.
type note struct {
	Seq int64  `db:"seq"`
	Op  int64  `db:"op"`
	Reg string `db:"reg"`
	Val int64  `db:"val"`
}

func newHistory() *history {
	return &history{
		reads: make(map[string][]read), writes: make(map[int64]*write), failed: make(map[string]int), order: make(map[string][]*version),
	}
}

// add takes what a child says.
func (h *history) add(by string, spawn int64, e event) {
	switch e.Kind {
	case evRead:
		for i, reg := range e.Regs {
			h.reads[reg] = append(h.reads[reg], read{by: by, spawn: spawn, how: e.How, call: e.Call, ret: e.Return, val: e.Vals[i], at: -1})
		}
	case evFailed:
		h.failed[e.Err]++
	case evBegin:
		h.writes[e.Op] = &write{by: by, spawn: spawn, op: e.Op, how: e.How, call: e.Call, ret: never, outcome: unknown, seen: never}
	case evEnd:
		if w := h.writes[e.Op]; w != nil {
			w.outcome, w.ret, w.err, w.pending = e.Outcome, e.Return, e.Err, e.Pending > 0
			if w.outcome == committed {
				w.seen = w.ret
			}
			if w.outcome == inDoubt { // it may be committed later than its caller was told that nobody knows
				w.ret = never
			}
		}
	}
}

// resolve sorts the round's commits and finds what each read has read. first is what the registers held when the round
// began, died when a child's process was gone.
func (h *history) resolve(first map[string]int64, notes []note, died map[int64]int64) (wrong []violation) {
	for reg, val := range first {
		h.order[reg] = []*version{{val: val}}
	}
	done := make(map[int64]bool)
	for _, n := range notes {
		w := h.writes[n.Op]
		if w == nil {
			wrong = append(wrong, violation{Property: "P0", Text: "a transaction was committed that nobody began in this round"})
			continue
		}
		if w.outcome == rolledBack {
			wrong = append(wrong, violation{Property: "P0", Reg: n.Reg, From: w.call, To: w.ret, Text: "a writer was told that it was rolled back, and it was committed: " + w.String()})
		}
		done[n.Op] = true
		h.order[n.Reg] = append(h.order[n.Reg], &version{n.Val, w})
		if at, ok := died[w.spawn]; ok && w.seen == never {
			w.seen = at
		}
	}
	for _, w := range h.writes {
		if w.outcome == committed && !done[w.op] && w.how != "bulk" && w.how != "several rows" { // which may find no row
			wrong = append(wrong, violation{Property: "P0", From: w.call, To: w.ret, Text: "a writer was told that it committed, and it did not: " + w.String()})
		}
	}
	for reg, reads := range h.reads {
		versions := h.order[reg]
		for i := range reads {
			r := &reads[i]
			wrong = append(wrong, h.place(reg, r, versions)...)
		}
		slices.SortFunc(reads, func(a, b read) int { return int(a.call - b.call) })
	}
	return wrong
}

// place finds the version that a read can have read. "No row" has many: the one that suits the read best is taken, the
// last that was begun before the read ended. Taking a later one than was meant can hide a violation only where an earlier one would have been
// none.
func (h *history) place(reg string, r *read, versions []*version) []violation {
	for i := len(versions) - 1; i >= 0; i-- {
		v := versions[i]
		if v.val != r.val || v.write != nil && v.call > r.ret {
			continue
		}
		r.at = i
		for _, v := range versions[:i+1] {
			if v.write != nil && r.ret < v.seen && r.val != 0 {
				v.seen = r.ret
			}
		}
		return nil
	}
	text := "never written"
	if w := h.writes[r.val]; w != nil {
		text = "written by a transaction that did not commit it: " + w.String()
	}
	return []violation{{Property: "P0", Reg: reg, From: r.call, To: r.ret, Text: r.String() + ": " + text}}
}

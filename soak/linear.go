package soak

import (
	"time"

	"github.com/anishathalye/porcupine"
)

// registerModel is a register that is written and read. The first operation is a write of what was there.
var registerModel = porcupine.Model{
	Init: func() any { return int64(-1) },
	Step: func(state, input, output any) (bool, any) {
		if in := input.(registerInput); in.write {
			return true, in.val
		}
		return state.(int64) == output.(int64), state
	},
	Equal: func(a, b any) bool { return a.(int64) == b.(int64) },
}

type registerInput struct {
	write bool
	val   int64
}

// linearTimeout bounds the search for one register of one round.
const linearTimeout = 20 * time.Second

// linearizable checks P3, register by register: it is a property of each on its own.
//
// A write of which nobody was told, and that was committed, takes effect at some moment before somebody was seen to
// read it, or never that anyone can tell: it has no end. One that was not committed is none.
func (h *history) linearizable() (wrong []violation, undecided int) {
	for reg, versions := range h.order {
		var ops []porcupine.Operation
		var end int64
		for _, r := range h.reads[reg] {
			end = max(end, r.ret)
		}
		seen := make(map[int64]int64) // the first end of a read of each value
		for _, r := range h.reads[reg] {
			if at, ok := seen[r.val]; r.at >= 0 && (!ok || r.ret < at) {
				seen[r.val] = r.ret
			}
		}
		for i, v := range versions {
			if v.write == nil {
				ops = append(ops, porcupine.Operation{ClientId: 0, Input: registerInput{true, v.val}, Call: -2, Return: -1, Output: int64(0)})
				continue
			}
			ret := v.ret
			if at, ok := seen[v.val]; ok && v.val != 0 {
				ret = min(ret, max(at, v.call))
			}
			if ret == never {
				ret = end + 1
			}
			ops = append(ops, porcupine.Operation{ClientId: i, Input: registerInput{true, v.val}, Call: v.call, Return: max(ret, v.call+1), Output: int64(0)})
		}
		for i, r := range h.reads[reg] {
			if r.at >= 0 {
				ops = append(ops, porcupine.Operation{ClientId: len(versions) + i, Input: registerInput{}, Call: r.call, Return: max(r.ret, r.call+1), Output: r.val})
			}
		}
		switch porcupine.CheckOperationsTimeout(registerModel, ops, linearTimeout) {
		case porcupine.Illegal:
			v := h.explain(reg)
			if v == nil {
				v = &violation{Property: "P3", Reg: reg, From: -never, To: never, Text: "not linearizable"}
			}
			wrong = append(wrong, *v)
		case porcupine.Unknown:
			undecided++
		}
	}
	return wrong, undecided
}

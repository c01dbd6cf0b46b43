package soak

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// told is a history of one register, written by hand: writes are numbered in the order of their commits.
type told struct {
	*history
	notes []note
}

func newTold() *told { return &told{history: newHistory()} }

func (h *told) write(op, call, ret int64, outcome string, val int64) {
	h.add("writer", op, event{Kind: evBegin, Op: op, Call: call, How: "modify"})
	if outcome != unknown {
		h.add("writer", op, event{Kind: evEnd, Op: op, Return: ret, Outcome: outcome})
	}
	if outcome != rolledBack {
		h.notes = append(h.notes, note{Seq: op, Op: op, Reg: "id 1", Val: val})
	}
}

func (h *told) read(val, call, ret int64) {
	h.add("reader", 9, event{Kind: evRead, Call: call, Return: ret, Regs: []string{"id 1"}, Vals: []int64{val}, How: "Find"})
}

// judge returns the properties that are broken.
func (h *told) judge() string {
	wrong := h.resolve(map[string]int64{"id 1": 1}, h.notes, nil)
	wrong = append(wrong, h.returned(promises{}, new(staleness))...)
	more, _ := h.linearizable()
	var names []string
	for _, v := range append(wrong, more...) {
		names = append(names, v.Property)
	}
	return strings.Join(names, " ")
}

func TestJudgement(t *testing.T) {
	for name, tt := range map[string]struct {
		tell func(h *told)
		want string
	}{
		"nothing wrong": {func(h *told) {
			h.write(2, 10, 20, committed, 2)
			h.read(1, 5, 15) // beside the write
			h.read(2, 16, 30)
			h.read(2, 21, 30)
		}, ""},
		"old after the write returned": {func(h *told) {
			h.write(2, 10, 20, committed, 2)
			h.read(1, 21, 30)
		}, "P1 P3"},
		"old after new was read, the write still out": {func(h *told) {
			h.write(2, 10, 50, committed, 2)
			h.read(2, 12, 15)
			h.read(1, 16, 18)
		}, "P3"},
		"old after new was read, the writer dead": {func(h *told) {
			h.write(2, 10, 0, unknown, 2)
			h.read(2, 12, 15)
			h.read(1, 16, 18)
		}, "P3"},
		"old for ever, the writer dead": {func(h *told) {
			h.write(2, 10, 0, unknown, 2)
			h.read(1, 160, 180)
		}, ""},
		"in doubt and later committed": {func(h *told) {
			h.write(2, 10, 20, inDoubt, 2)
			h.read(1, 25, 30)
			h.read(2, 31, 35)
		}, ""},
		"never written": {func(h *told) {
			h.read(7, 10, 20)
		}, "P0"},
		"rolled back and read": {func(h *told) {
			h.write(2, 10, 20, rolledBack, 2)
			h.read(2, 12, 15)
		}, "P0"},
		"a row that is gone": {func(h *told) {
			h.write(2, 10, 20, committed, 0)
			h.read(1, 21, 30)
		}, "P1 P3"},
		"two deletions": {func(h *told) {
			h.write(2, 10, 20, committed, 0)
			h.write(3, 30, 40, committed, 3)
			h.write(4, 50, 60, committed, 0)
			h.read(0, 55, 70)
			h.read(0, 21, 29)
			h.read(3, 41, 49)
		}, ""},
	} {
		h := newTold()
		tt.tell(h)
		if got := h.judge(); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

// What is not linearizable can be explained, also by somebody who found no row.
func TestExplain(t *testing.T) {
	h := newTold()
	h.write(2, 10, 50, committed, 0)
	h.read(0, 12, 15)
	h.read(1, 16, 18)
	h.resolve(map[string]int64{"id 1": 1}, h.notes, nil)
	v := h.explain("id 1")
	if v == nil || !strings.Contains(v.Text, "Find by reader read 0.1 began 0s after Find by reader read no row had ended") {
		t.Errorf("explained by %v", v)
	}
}

// The window shows both who cannot be right, and nothing from long before.
func TestWindow(t *testing.T) {
	h := newTold()
	h.write(2, 1000, 2000, committed, 2)
	h.write(3, 10_000, 20_000, committed, 3)
	h.read(2, 21_000, 22_000)
	h.resolve(map[string]int64{"id 1": 1}, h.notes, nil)
	wrong := h.returned(promises{}, new(staleness))
	if len(wrong) != 1 {
		t.Fatal(wrong)
	}
	text := h.window(wrong[0])
	if lines := strings.Count(text, "\n"); lines != 2 || !strings.Contains(text, "0.000ms to    0.010ms  modify of 0.3 by writer") {
		t.Errorf("shows\n%s", text)
	}
}

// The same seed strikes at the same times.
func TestSchedule(t *testing.T) {
	draw := func(seed uint64) (all []fault) {
		random := rand.New(rand.NewPCG(seed, 1))
		for round := range 20 {
			all = append(all, schedule(random, round, 2e9, ModeOf("default").points())...)
		}
		return all
	}
	one := draw(1)
	if !slices.Equal(one, draw(1)) || slices.Equal(one, draw(2)) {
		t.Error("a schedule is not its seed's")
	}
	for _, f := range one {
		k, ok := kindOf(f.Kind)
		if !ok || f.Round%3 != 2 && k.loses || f.Round%7 == 6 {
			t.Errorf("round %d has %s", f.Round, f)
		}
	}
	if len(one) < 40 {
		t.Errorf("%d faults in 20 rounds", len(one))
	}
}

// Whatever porcupine finds is explained: the order of commits, which it does not know, can only forbid more.
func TestWhatIsFoundIsExplained(t *testing.T) {
	found := 0
	for seed := range uint64(3000) {
		random := rand.New(rand.NewPCG(seed, 7))
		h := newTold()
		at := int64(10)
		vals := []int64{1}
		for op := int64(2); op < 6; op++ {
			call := at + random.Int64N(20)
			at = call
			outcome, val := committed, op
			switch random.IntN(4) {
			case 0:
				outcome = unknown
			case 1:
				val = 0
			}
			vals = append(vals, val)
			h.write(op, call, call+1+random.Int64N(40), outcome, val)
		}
		for range 6 {
			call := 10 + random.Int64N(80)
			h.read(vals[random.IntN(len(vals))], call, call+1+random.Int64N(30))
		}
		h.resolve(map[string]int64{"id 1": 1}, h.notes, nil)
		wrong, _ := h.linearizable()
		if len(wrong) == 0 {
			continue
		}
		found++
		if strings.Contains(wrong[0].Text, "not linearizable") {
			t.Errorf("seed %d: %s\n%s", seed, wrong[0], h.window(wrong[0]))
		}
	}
	if found < 100 {
		t.Errorf("only %d histories are wrong", found)
	}
}

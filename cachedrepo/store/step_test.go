package store

import (
	"bytes"
	"fmt"
	"slices"
	"testing"
	"time"
)

var t0 = time.UnixMicro(1_700_000_000_123_456)

const ttl = 10 * time.Second

func tok(b byte) (t Token) { t[0], t[15] = b, b; return t }

// after is a deadline as Step computes it from t0.
func after(d time.Duration) int64 { return t0.UnixMilli() + d.Milliseconds() }

func absent() Entry        { return Entry{} }
func value(v string) Entry { return Entry{State: Value, Value: []byte(v), Expires: after(time.Minute)} }

func lease(b byte) Entry      { return Entry{State: Lease, Token: tok(b), Expires: after(time.Minute)} }
func intent(bs ...byte) Entry { return tokens(Entry{State: Intent}, bs) }
func gen(g Token, bs ...byte) Entry {
	e := tokens(Entry{State: Generation, Token: g}, bs)
	e.Expires = after(time.Minute)
	return e
}

func tokens(e Entry, bs []byte) Entry {
	for _, b := range bs {
		e.Writers = append(e.Writers, Writer{tok(b), after(time.Second * time.Duration(b))})
	}
	e.Expires = e.lastDeadline()
	return e
}

// fresh is e as an operation with TTL ttl puts it there.
func fresh(e Entry) Entry { e.Expires = after(ttl); return e }

// TestEntryTable is the table of the protocol's entry operations, cell by cell.
func TestEntryTable(t *testing.T) {
	const mine, other = 1, 2
	added := func(e Entry) Entry { // token 7 with deadline ttl, beside what e holds
		e.State, e.Token, e.Value = Intent, Token{}, nil
		e.Writers = append(slices.Clone(e.Writers), Writer{tok(7), after(ttl)})
		e.Expires = e.lastDeadline()
		return e
	}
	g := gen(tok(9))
	tests := []struct {
		op            OpKind
		token         byte
		value         string
		before, after Entry
		lost, refused bool
	}{
		{op: Get, before: absent(), after: absent()},
		{op: Get, before: value("v"), after: value("v")},
		{op: Get, before: lease(other), after: lease(other)},
		{op: Get, before: intent(3, 4), after: intent(3, 4)},
		{op: Get, before: g, after: g},

		{op: Acquire, token: mine, before: absent(), after: fresh(lease(mine))},
		{op: Acquire, token: mine, before: value("v"), after: value("v")},
		{op: Acquire, token: mine, before: lease(other), after: lease(other)},
		{op: Acquire, token: mine, before: lease(mine), after: lease(mine)},
		{op: Acquire, token: mine, before: intent(3), after: intent(3)},
		{op: Acquire, token: mine, before: g, after: g},

		{op: AcquireOver, token: mine, value: "seen", before: absent(), after: fresh(lease(mine))},
		{op: AcquireOver, token: mine, value: "seen", before: value("seen"), after: fresh(lease(mine))},
		{op: AcquireOver, token: mine, value: "seen", before: value("newer"), after: value("newer")},
		{op: AcquireOver, token: mine, value: "seen", before: lease(other), after: lease(other)},
		{op: AcquireOver, token: mine, value: "seen", before: lease(mine), after: lease(mine)},
		{op: AcquireOver, token: mine, value: "seen", before: intent(3), after: intent(3)},
		{op: AcquireOver, token: mine, value: "", before: intent(3), after: intent(3)},
		{op: AcquireOver, token: mine, value: "", before: lease(other), after: lease(other)},
		{op: AcquireOver, token: mine, value: "seen", before: g, after: g},

		{op: Fill, token: mine, value: "v", before: absent(), after: absent(), refused: true},
		{op: Fill, token: mine, value: "v", before: value("w"), after: value("w"), refused: true},
		{op: Fill, token: mine, value: "v", before: value("v"), after: value("v")},
		{op: Fill, token: mine, value: "v", before: lease(mine), after: fresh(value("v"))},
		{op: Fill, token: mine, value: "v", before: lease(other), after: lease(other), refused: true},
		{op: Fill, token: mine, value: "v", before: intent(mine), after: intent(mine), refused: true},
		{op: Fill, token: 9, value: "v", before: g, after: g, refused: true},

		{op: Abandon, token: mine, before: absent(), after: absent()},
		{op: Abandon, token: mine, before: value("v"), after: value("v")},
		{op: Abandon, token: mine, before: lease(mine), after: absent()},
		{op: Abandon, token: mine, before: lease(other), after: lease(other)},
		{op: Abandon, token: mine, before: intent(mine), after: intent(mine)},
		{op: Abandon, token: 9, before: g, after: g},

		{op: Intend, token: 7, before: absent(), after: added(absent())},
		{op: Intend, token: 7, before: value("v"), after: added(absent())},
		{op: Intend, token: 7, before: lease(other), after: added(absent())},
		{op: Intend, token: 7, before: intent(3, 4), after: added(intent(3, 4))},
		{op: Intend, token: 7, before: g, after: g},

		{op: Release, token: 3, before: absent(), after: absent(), lost: true},
		{op: Release, token: 3, before: value("v"), after: absent(), lost: true},
		{op: Release, token: 3, before: lease(3), after: absent(), lost: true},
		{op: Release, token: 3, before: intent(3), after: absent()},
		{op: Release, token: 3, before: intent(3, 4), after: intent(4)},
		{op: Release, token: 4, before: intent(3, 4), after: intent(3)},
		{op: Release, token: 5, before: intent(3, 4), after: intent(3, 4), lost: true},
		{op: Release, token: 9, before: g, after: g, lost: true},

		{op: Invalidate, before: absent(), after: absent()},
		{op: Invalidate, before: value("v"), after: absent()},
		{op: Invalidate, before: lease(other), after: absent()},
		{op: Invalidate, before: intent(3, 4), after: intent(3, 4)},
		{op: Invalidate, before: g, after: g},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%v on %v", tt.op, tt.before), func(t *testing.T) {
			op := Op{Kind: tt.op, Token: tok(tt.token), Value: []byte(tt.value), TTL: ttl}
			check(t, tt.before, op, tt.after, Reply{Lost: tt.lost, Refused: tt.refused})
		})
	}
}

// TestGenerationTable is the table of the protocol's generations, cell by cell.
func TestGenerationTable(t *testing.T) {
	old := tok(9)
	bumped := nonce(tok(1), old, t0)
	born := nonce(tok(1), Token{}, t0)
	entered := func(g Token, bs ...byte) Entry { // token 1 with deadline ttl, before the others
		e := gen(g, bs...)
		e.Writers = append([]Writer{{tok(1), after(ttl)}}, e.Writers...)
		return e
	}
	tests := []struct {
		op            OpKind
		token         byte
		before, after Entry
		lost          bool
	}{
		{op: Stamps, token: 1, before: absent(), after: fresh(gen(born))},
		{op: Stamps, token: 1, before: gen(old), after: gen(old)},
		{op: Stamps, token: 1, before: gen(old, 3), after: gen(old, 3)},
		{op: Bump, token: 1, before: absent(), after: absent()},
		{op: Bump, token: 1, before: gen(old), after: absent()},
		{op: Bump, token: 1, before: gen(old, 3), after: gen(bumped, 3)},
		{op: Enter, token: 1, before: absent(), after: fresh(entered(born))},
		{op: Enter, token: 1, before: gen(old), after: entered(bumped)},
		{op: Enter, token: 1, before: gen(old, 3), after: entered(bumped, 3)},
		{op: Leave, token: 3, before: absent(), after: absent(), lost: true},
		{op: Leave, token: 3, before: gen(old), after: absent(), lost: true},
		{op: Leave, token: 3, before: gen(old, 3), after: gen(old)},
		{op: Leave, token: 3, before: gen(old, 3, 4), after: gen(old, 4)},
		{op: Leave, token: 1, before: gen(old, 3), after: gen(bumped, 3), lost: true},
	}
	for _, e := range []Entry{value("v"), lease(1), intent(1, 3)} {
		for _, kind := range []OpKind{Stamps, Bump, Enter, Leave} {
			tests = append(tests, struct {
				op            OpKind
				token         byte
				before, after Entry
				lost          bool
			}{kind, 1, e, e, kind == Leave})
		}
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%v on %v", tt.op, tt.before), func(t *testing.T) {
			check(t, tt.before, Op{Kind: tt.op, Token: tok(tt.token), TTL: ttl}, tt.after, Reply{Lost: tt.lost})
		})
	}
}

// check runs one step and derives the rest of the reply from the entry wanted.
func check(t *testing.T, before Entry, op Op, after Entry, want Reply) {
	t.Helper()
	kept := fmt.Sprint(before)
	got, r := Step(before, op, t0)
	if !got.Equal(after) {
		t.Errorf("holds %+v\nwant  %+v", got, after)
	}
	if fmt.Sprint(before) != kept {
		t.Errorf("the entry passed in has changed: %s, was %v", kept, before)
	}
	want.State, want.Token = after.State, after.Token
	want.Held = after.State == Generation && len(after.Writers) > 0
	if op.Kind <= AcquireOver {
		want.Value = after.Value
	}
	if r.State != want.State || r.Token != want.Token || !bytes.Equal(r.Value, want.Value) ||
		r.Lost != want.Lost || r.Refused != want.Refused || r.Held != want.Held {
		t.Errorf("answers %+v\nwant    %+v", r, want)
	}
	if op.Kind > AcquireOver && r.Value != nil {
		t.Errorf("%v answers a value", op.Kind)
	}
}

// TestDeadlines: whatever is past its deadline is dropped before the operation looks.
func TestDeadlines(t *testing.T) {
	at := func(d time.Duration) time.Time { return time.UnixMilli(after(d)) }
	get := Op{Kind: Get}
	for _, e := range []Entry{value("v"), lease(1), gen(tok(9), 3)} {
		if got, _ := Step(e, get, at(time.Minute-1)); got.State != e.State {
			t.Errorf("%v is gone before its deadline", e.State)
		}
		if got, _ := Step(e, get, at(time.Minute)); !got.Equal(absent()) {
			t.Errorf("%v outlives its deadline: %+v", e.State, got)
		}
	}
	e := intent(3, 4, 5)
	if got, _ := Step(e, get, at(4*time.Second)); !got.Equal(intent(5)) {
		t.Errorf("tokens outlive their deadlines: %+v", got)
	}
	if got, r := Step(e, Op{Kind: Acquire, Token: tok(1), TTL: ttl}, at(5*time.Second)); got.State != Lease || r.Token != tok(1) {
		t.Errorf("dead tokens keep the key uncached: %+v", got)
	}
	if _, r := Step(e, Op{Kind: Release, Token: tok(3)}, at(3*time.Second)); !r.Lost {
		t.Error("a writer whose token has expired is not told")
	}
	if got, r := Step(lease(1), Op{Kind: Fill, Token: tok(1), Value: []byte("v"), TTL: ttl}, at(time.Minute)); !r.Refused || got.State != Absent {
		t.Errorf("an expired lease fills: %+v", got)
	}
	ge := gen(tok(9), 3)
	if _, r := Step(ge, Op{Kind: Stamps, Token: tok(1), TTL: ttl}, at(3*time.Second)); r.Held || r.Token != tok(9) {
		t.Errorf("a dead token holds a generation: %+v", r)
	}
	if got, r := Step(ge, Op{Kind: Leave, Token: tok(3)}, at(3*time.Second)); !r.Lost || got.State != Absent {
		t.Errorf("a writer that comes back late leaves the nonce alone: %+v", got)
	}
}

// TestNeverShortened: a second intend of a token, or a second reader of a generation, takes no life away.
func TestNeverShortened(t *testing.T) {
	e, _ := Step(intent(8), Op{Kind: Intend, Token: tok(8), TTL: time.Second}, t0)
	if !e.Equal(intent(8)) {
		t.Errorf("a late repeat of intend takes a renewal back: %+v", e)
	}
	e, _ = Step(intent(8), Op{Kind: Intend, Token: tok(3), TTL: 3 * time.Second}, t0)
	if !e.Equal(intent(3, 8)) {
		t.Errorf("holds %+v", e)
	}
	g, _ := Step(gen(tok(9)), Op{Kind: Stamps, Token: tok(1), TTL: time.Second}, t0)
	if !g.Equal(gen(tok(9))) {
		t.Errorf("stamps shorten a generation: %+v", g)
	}
	g, _ = Step(gen(tok(9)), Op{Kind: Enter, Token: tok(1), TTL: time.Hour}, t0)
	if g.Expires != after(time.Hour) {
		t.Errorf("a generation goes before its token: %+v", g)
	}
	g, _ = Step(gen(tok(9)), Op{Kind: Stamps, Token: tok(1), TTL: time.Hour}, t0)
	if g.Expires != after(time.Hour) {
		t.Errorf("a generation in use dies: %+v", g)
	}
}

// TestRepeatedCommand replays the history beside stepGeneration: the client repeats a command that did run, after
// another writer has gone on. No nonce of the past may come back.
func TestRepeatedCommand(t *testing.T) {
	for _, held := range []bool{false, true} {
		for _, kind := range []OpKind{Stamps, Bump, Enter} {
			e := absent()
			now := t0
			past := map[Token]string{}
			do := func(op Op) {
				before := e
				now = now.Add(time.Millisecond)
				e, _ = Step(e, op, now)
				if e.Token != before.Token {
					if when, ok := past[e.Token]; ok && e.State == Generation {
						t.Fatalf("held %v, %v: the nonce of %s is back", held, kind, when)
					}
				}
				if e.State == Generation {
					past[e.Token] = fmt.Sprintf("%v at %v", op.Kind, now)
				}
			}
			if held {
				do(Op{Kind: Enter, Token: tok(4), TTL: time.Hour})
			}
			a := Op{Kind: kind, Token: tok(1), TTL: ttl}
			do(a)                                         // runs, the reply is lost
			do(Op{Kind: Stamps, Token: tok(2), TTL: ttl}) // a reader takes the stamp
			do(Op{Kind: Bump, Token: tok(3)})             // another writer ends it
			do(a)                                         // the client repeats
			do(Op{Kind: Stamps, Token: tok(2), TTL: ttl})
		}
	}
}

// TestClockThatStandsStill: while a generation lives, the nonce before is part of the next one, so that not even a clock
// that was set back to the very moment brings it back.
func TestClockThatStandsStill(t *testing.T) {
	e := gen(tok(9), 3)
	past := map[Token]bool{e.Token: true}
	for _, kind := range []OpKind{Bump, Bump, Enter, Enter, Bump} {
		e, _ = Step(e, Op{Kind: kind, Token: tok(1), TTL: ttl}, t0)
		if past[e.Token] {
			t.Fatalf("%v: the nonce %v is back", kind, e.Token)
		}
		past[e.Token] = true
	}
}

func TestMillis(t *testing.T) {
	for d, want := range map[time.Duration]int64{
		-time.Hour: 1, 0: 1, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2,
		time.Second: 1000, 1<<63 - 1: 9223372036855,
	} {
		if got := (Op{TTL: d}).Millis(); got != want {
			t.Errorf("%v is %d ms, want %d", d, got, want)
		}
	}
}

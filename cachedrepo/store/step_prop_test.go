package store

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var (
	entryKinds      = []OpKind{Get, Acquire, AcquireOver, Fill, Abandon, Intend, Release, Invalidate}
	generationKinds = []OpKind{Stamps, Bump, Enter, Leave}
)

func drawOp(t *rapid.T, kinds []OpKind) Op {
	return Op{
		Kind:  rapid.SampledFrom(kinds).Draw(t, "kind"),
		Token: tok(byte(rapid.IntRange(1, 4).Draw(t, "token"))),
		Value: []byte(rapid.SampledFrom([]string{"", "a", "b"}).Draw(t, "value")),
		TTL:   time.Duration(rapid.IntRange(0, 8).Draw(t, "ttl")) * time.Millisecond,
	}
}

// TestInvariants drives one key through random histories and checks, over each single step, the sentences that the
// protocol's proofs lean on. They are written without Step's own words: who ended what, and was it theirs to end.
func TestInvariants(t *testing.T) {
	for name, kinds := range map[string][]OpKind{
		"entry":      entryKinds,
		"generation": generationKinds,
		"both":       slices.Concat(entryKinds, generationKinds),
	} {
		t.Run(name, rapid.MakeCheck(func(t *rapid.T) {
			var e Entry
			now := t0
			past := map[Token]bool{} // nonces that the generation had before
			for range rapid.IntRange(1, 60).Draw(t, "steps") {
				// Two commands on one key never run in the same microsecond.
				now = now.Add(time.Duration(rapid.IntRange(1, 3000).Draw(t, "µs")) * time.Microsecond)
				op := drawOp(t, kinds)
				before := e
				after, r := Step(before, op, now)
				invariants(t, before, op, after, r, now.UnixMilli())
				if after.State == Generation && (before.State != Generation || before.Token != after.Token) {
					if past[after.Token] {
						t.Fatalf("%v: the nonce %v is back", op.Kind, after.Token)
					}
					past[after.Token] = true
				}
				e = after
			}
		}))
	}
}

func invariants(t *rapid.T, before Entry, op Op, after Entry, r Reply, ms int64) {
	expired := before.State == Absent || before.Expires <= ms
	gone := before.State != after.State || before.Token != after.Token || string(before.Value) != string(after.Value)
	fail := func(why string) {
		t.Fatalf("%s\nbefore %+v\nop     %+v\nafter  %+v\nreply  %+v", why, before, op, after, r)
	}

	switch {
	case before.State == Value && !expired && gone:
		ends := op.Kind == Intend || op.Kind == Release || op.Kind == Invalidate
		if !ends && !(op.Kind == AcquireOver && string(op.Value) == string(before.Value)) {
			fail("a live value was ended by an operation that must not")
		}
	case before.State == Lease && !expired && gone:
		ends := op.Kind == Intend || op.Kind == Release || op.Kind == Invalidate
		if !ends && !((op.Kind == Fill || op.Kind == Abandon) && op.Token == before.Token) {
			fail("a live lease was ended by somebody else")
		}
	}
	for _, w := range before.Writers {
		kept := slices.ContainsFunc(after.Writers, func(a Writer) bool { return a.Token == w.Token && a.Deadline >= w.Deadline })
		own := (op.Kind == Release || op.Kind == Leave) && op.Token == w.Token
		if w.Deadline > ms && !kept && !own {
			fail(fmt.Sprintf("token %v was taken away or cut short", w.Token))
		}
	}
	if after.State == Value && after.State != before.State && !(before.State == Lease && before.Token == op.Token && !expired) {
		fail("a value appeared without the lease")
	}
	if after.State != Absent && after.Expires <= ms {
		fail("holds what is past its deadline")
	}
	if (after.State == Intent) != (len(after.Writers) > 0) && after.State != Generation {
		fail("an intent without tokens, or tokens without an intent")
	}
	if !slices.IsSortedFunc(after.Writers, func(a, b Writer) int { return byToken(a, b.Token) }) {
		fail("tokens are not in order")
	}
	if after.Writers != nil && len(after.Writers) == 0 {
		fail("not canonical")
	}
	for _, w := range after.Writers {
		if w.Deadline <= ms || w.Deadline > after.Expires {
			fail("a dead token, or a key that goes before its token")
		}
	}
	if after.State == Intent && after.Expires != after.lastDeadline() {
		fail("an intent outlives its tokens")
	}
	if r.State != after.State || r.Token != after.Token {
		fail("the reply is not what the key holds")
	}
	if op.Kind == Fill && !r.Refused && (after.State != Value || string(after.Value) != string(op.Value)) {
		fail("a fill that did not store is not refused")
	}
	if (op.Kind == Acquire || op.Kind == AcquireOver) && after.State == Absent {
		fail("nobody loads the key")
	}
	// A generation with a live token answers Held, or a reader would fill what is about to change.
	if live := after.State == Generation && len(after.Writers) > 0; live != r.Held {
		fail("held is wrong")
	}
	if before.State == Generation && !expired && op.Kind >= Stamps && op.Kind != Stamps && op.Kind != Leave && after.Token == before.Token {
		fail("the old stamps are still good")
	}
	if op.Kind == Leave && r.Lost && before.State == Generation && after.Token == before.Token && after.State == Generation {
		fail("the writer lost its token and the old stamps are still good")
	}
	// Safe to repeat: the second run of an entry operation changes nothing more.
	if op.Kind < Stamps {
		again, r2 := Step(after, op, time.UnixMilli(ms))
		if !again.Equal(after) && !(op.Kind == AcquireOver && string(op.Value) == string(after.Value)) {
			fail(fmt.Sprintf("a repeat changes the key again: %+v", again))
		}
		if op.Kind == Fill && r2.Refused != r.Refused {
			fail("a repeated fill counts as a loss")
		}
	}
}

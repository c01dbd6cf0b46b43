package protocol_test

import (
	"slices"
	"testing"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/txhooks"
)

var (
	mine   = store.Token{1}
	others = store.Token{2}
)

// The table of docs/protocol.md, "A read".
func TestReaderMoves(t *testing.T) {
	for _, c := range []struct {
		state           store.State
		verdict         protocol.Verdict
		looked, instead protocol.Move // after Get; after Acquire that did not give the lease
	}{
		{store.Absent, 0, protocol.Acquire, protocol.Database},
		{store.Value, protocol.Usable, protocol.Return, protocol.Return},
		{store.Value, protocol.Unusable, protocol.TakeOver, protocol.TakeOver},
		{store.Value, protocol.Newer, protocol.Database, protocol.Database},
		{store.Lease, 0, protocol.Share, protocol.Share},
		{store.Intent, 0, protocol.Database, protocol.Database},
		{store.Generation, 0, protocol.Database, protocol.Database},
	} {
		if got := protocol.Looked(c.state, c.verdict); got != c.looked {
			t.Errorf("Looked(%d, %d) = %d, want %d", c.state, c.verdict, got, c.looked)
		}
		r := store.Reply{State: c.state, Token: others}
		if got := protocol.Acquired(r, mine, c.verdict); got != c.instead {
			t.Errorf("Acquired(%d, %d) = %d, want %d", c.state, c.verdict, got, c.instead)
		}
	}
	if got := protocol.Acquired(store.Reply{State: store.Lease, Token: mine}, mine, 0); got != protocol.Load {
		t.Errorf("Acquired with the own lease = %d, want Load", got)
	}
	for _, c := range []struct {
		known, patient bool
		want           protocol.Move
	}{{true, true, protocol.Share}, {true, false, protocol.Share}, {false, true, protocol.Wait}, {false, false, protocol.Database}} {
		if got := protocol.Held(c.known, c.patient); got != c.want {
			t.Errorf("Held(%v, %v) = %d, want %d", c.known, c.patient, got, c.want)
		}
	}
}

func TestWhoMayJoinALoad(t *testing.T) {
	none := store.Token{}
	for _, c := range []struct {
		name        string
		found, held store.Token
		sent, want  bool
	}{
		{"S1: the lease that was found", mine, mine, true, true},
		{"another lease", mine, others, true, false},
		{"nothing was found", none, mine, true, false},
		{"a load that stores nothing", none, none, true, false},
		{"S2: not sent yet", none, none, false, true},
		{"S2, whatever was found", mine, others, false, true},
	} {
		if got := protocol.Joins(c.found, c.held, c.sent); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestWriterSteps(t *testing.T) {
	type steps = []protocol.Step
	for _, c := range []struct {
		mode                                protocol.Mode
		before, committed, undone, doubtful steps
	}{
		{
			protocol.Mode{},
			nil,
			steps{protocol.Invalidate},
			nil,
			steps{protocol.InvalidateAgain, protocol.Invalidate},
		},
		{
			protocol.Mode{Marks: true},
			nil,
			steps{protocol.Mark, protocol.Invalidate},
			nil,
			steps{protocol.Mark, protocol.InvalidateAgain, protocol.Invalidate},
		},
		{
			protocol.Mode{Strict: true},
			steps{protocol.Intend},
			steps{protocol.Release},
			steps{protocol.Release},
			steps{protocol.InvalidateAgain, protocol.Invalidate},
		},
		{
			protocol.Mode{Strict: true, Marks: true},
			steps{protocol.Mark, protocol.Intend},
			steps{protocol.Mark, protocol.Release},
			steps{protocol.Mark, protocol.Release},
			steps{protocol.Mark, protocol.InvalidateAgain, protocol.Invalidate},
		},
	} {
		for _, d := range []struct {
			name      string
			got, want steps
		}{
			{"before COMMIT", protocol.Before(c.mode), c.before},
			{"committed", protocol.After(c.mode, txhooks.Committed), c.committed},
			{"rolled back", protocol.After(c.mode, txhooks.RolledBack), c.undone},
			{"in doubt", protocol.After(c.mode, txhooks.InDoubt), c.doubtful},
			{"relay", protocol.Relayed(c.mode), c.committed},
		} {
			if !slices.Equal(d.got, d.want) {
				t.Errorf("%+v, %s: %v, want %v", c.mode, d.name, d.got, d.want)
			}
		}
	}
	for step, want := range map[protocol.Step]store.OpKind{
		protocol.Mark: store.Intend, protocol.Intend: store.Intend, protocol.Release: store.Release,
		protocol.Invalidate: store.Invalidate, protocol.InvalidateAgain: store.Invalidate,
	} {
		if got := step.Kind(); got != want {
			t.Errorf("step %d is operation %d, want %d", step, got, want)
		}
	}
}

func TestStampedMoves(t *testing.T) {
	g := func(n store.Token, held bool) store.Reply {
		return store.Reply{State: store.Generation, Token: n, Held: held}
	}
	for _, c := range []struct {
		name   string
		now    []store.Reply
		stamps []store.Token
		want   protocol.Move
	}{
		{"no entry", []store.Reply{g(mine, false)}, nil, protocol.Load},
		{"the same generation", []store.Reply{g(mine, false)}, []store.Token{mine}, protocol.Return},
		{"another generation", []store.Reply{g(mine, false)}, []store.Token{others}, protocol.Load},
		{"one of two is another", []store.Reply{g(mine, false), g(mine, false)}, []store.Token{mine, others}, protocol.Load},
		{"tokens", []store.Reply{g(mine, true)}, []store.Token{mine}, protocol.Database},
		{"tokens in one of two", []store.Reply{g(mine, false), g(others, true)}, []store.Token{mine, others}, protocol.Database},
		{"not a generation", []store.Reply{{State: store.Value}}, []store.Token{{}}, protocol.Database},
	} {
		if got := protocol.Stamped(c.now, c.stamps); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
	for step, want := range map[protocol.Step]store.OpKind{
		protocol.Mark: store.Intend, protocol.Intend: store.Enter, protocol.Release: store.Leave,
		protocol.Invalidate: store.Bump, protocol.InvalidateAgain: store.Bump,
	} {
		if got := step.OnGeneration(); got != want {
			t.Errorf("step %d is operation %d on a generation, want %d", step, got, want)
		}
	}
}

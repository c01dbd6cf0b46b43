package modelcheck_test

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/modelcheck"
	"github.com/asidego/aside/cachedrepo/store"
)

const (
	p1 = modelcheck.P1
	p2 = modelcheck.P2
	p3 = modelcheck.P3
	p4 = modelcheck.P4
)

// A hole is what comes of a protocol with a rule less. The search must find it, or its "kept" is worth nothing.
type hole struct {
	name   string
	config modelcheck.Config
	broken []modelcheck.Property
}

func rules(r modelcheck.Rules, c modelcheck.Config) modelcheck.Config {
	c.Rules = r
	return c
}

var holes = []hole{
	{"1: W0, fills are plain SETs", rules(modelcheck.Rules{Naive: true}, modelcheck.Config{}), []modelcheck.Property{p1, p2}},
	{"2: W1, delete first", rules(modelcheck.Rules{Naive: true, DeleteFirst: true}, modelcheck.Config{}), []modelcheck.Property{p1, p2}},
	{"2: W2, delete twice", rules(modelcheck.Rules{Naive: true, DeleteTwice: true}, modelcheck.Config{}), []modelcheck.Property{p1, p2}},
	{"W0 with a query's entry", rules(modelcheck.Rules{Naive: true}, modelcheck.Config{Query: true}), []modelcheck.Property{p1, p2}},

	{"6: default mode, in doubt, invalidated at once only", rules(modelcheck.Rules{NeverAgain: true},
		modelcheck.Config{Faults: modelcheck.Faults{InDoubt: true}}), []modelcheck.Property{p2}},
	{"7: strict, in doubt, released at once", rules(modelcheck.Rules{ReleaseInDoubt: true},
		modelcheck.Config{Strict: true, Faults: modelcheck.Faults{InDoubt: true}}), []modelcheck.Property{p2, p3}},
	{"7: the same with a generation", rules(modelcheck.Rules{ReleaseInDoubt: true},
		modelcheck.Config{Query: true, Strict: true, Faults: modelcheck.Faults{InDoubt: true}}), []modelcheck.Property{p2, p3}},

	{"9: W4, an intent of one token", modelcheck.Config{Strict: true, Step: singleToken}, []modelcheck.Property{p1, p2, p3}},
	{"10: W4, the intent is evicted", modelcheck.Config{Writers: 1, Strict: true, Step: singleToken, Faults: modelcheck.Faults{Evictions: 1}}, []modelcheck.Property{p1, p2}},
	{"10: a release that spares what it finds instead of its token", modelcheck.Config{
		Strict: true, Step: sparingRelease, Faults: modelcheck.Faults{Evictions: 1},
	}, []modelcheck.Property{p1, p2}},

	{"12: the relay deletes blindly", rules(modelcheck.Rules{BlindRelay: true},
		modelcheck.Config{Strict: true, Outbox: true}), []modelcheck.Property{p3}},
	{"12: and the other's post step is skipped", rules(modelcheck.Rules{BlindRelay: true},
		modelcheck.Config{Strict: true, Outbox: true, Faults: modelcheck.Faults{Unreachable: true}}), []modelcheck.Property{p1}},

	{"13: S0, default mode", rules(modelcheck.Rules{JoinAny: true}, modelcheck.Config{Together: true}), []modelcheck.Property{p1}},
	{"13: S0, strict mode", rules(modelcheck.Rules{JoinAny: true}, modelcheck.Config{Together: true, Strict: true}), []modelcheck.Property{p1}},
	{"13: S0, generations", rules(modelcheck.Rules{JoinAny: true}, modelcheck.Config{Together: true, Query: true}), []modelcheck.Property{p1}},
	{"13: S0, generations, strict", rules(modelcheck.Rules{JoinAny: true},
		modelcheck.Config{Together: true, Query: true, Strict: true}), []modelcheck.Property{p1}},
	{"13: S1 that does not compare the lease", rules(modelcheck.Rules{UnconditionalJoin: true},
		modelcheck.Config{Together: true, Readers: 3, Writers: 1}), []modelcheck.Property{p1}},

	{"14: a load whose snapshot is older than its lease", rules(modelcheck.Rules{OldSnapshot: true}, modelcheck.Config{}), []modelcheck.Property{p1, p2}},
	{"14: the same in strict mode", rules(modelcheck.Rules{OldSnapshot: true}, modelcheck.Config{Strict: true}), []modelcheck.Property{p1, p2}},

	{"16: the mark is armed after the value has ended", rules(modelcheck.Rules{MarkAfter: true},
		modelcheck.Config{Replicas: 1, Marks: true}), []modelcheck.Property{p1}},
	{"16: the mark is looked for before the lease is asked for", rules(modelcheck.Rules{MarkBeforeLease: true},
		modelcheck.Config{Replicas: 1, Marks: true}), []modelcheck.Property{p1}},
	{"16: the same in strict mode", rules(modelcheck.Rules{MarkBeforeLease: true},
		modelcheck.Config{Strict: true, Replicas: 1, Marks: true}), []modelcheck.Property{p1}},

	{"17: the epoch is taken when the value is stored", rules(modelcheck.Rules{EpochAtFill: true},
		modelcheck.Config{Epoch: true, Faults: modelcheck.Faults{Failovers: 1}}), []modelcheck.Property{p1, p2}},
	{"17: the same with a generation", rules(modelcheck.Rules{EpochAtFill: true},
		modelcheck.Config{Query: true, Epoch: true, Faults: modelcheck.Faults{Failovers: 1}}), []modelcheck.Property{p1, p2}},

	{"19: G2, a bump before COMMIT and none after", rules(modelcheck.Rules{BumpBeforeOnly: true}, modelcheck.Config{Query: true}), []modelcheck.Property{p1}},
	{"20: G5, tokens without a bump before COMMIT", modelcheck.Config{
		Query: true, Strict: true, Step: keepingEnter, Faults: modelcheck.Faults{Unreachable: true},
	}, []modelcheck.Property{p1}},
	{"21: a generation that counts", modelcheck.Config{Query: true, Step: counting, Faults: modelcheck.Faults{Evictions: 1}}, []modelcheck.Property{p1}},
	{"a generation whose nonce the client brings along", modelcheck.Config{
		Query: true, Step: callersNonce, Readers: 1, Faults: modelcheck.Faults{Repeats: 1},
	}, []modelcheck.Property{p1}},
	{"a leave that does not end the generation when its token is gone", modelcheck.Config{
		Query: true, Strict: true, Step: quietLeave, Faults: modelcheck.Faults{TokenExpiry: true},
	}, []modelcheck.Property{p1}},

	{"2f: a take-over that does not compare what was seen", modelcheck.Config{
		Versions: true, Readers: 3, Writers: 1, Step: blindTakeOver,
	}, []modelcheck.Property{p4}},
	{"2f: the older version takes over, too", rules(modelcheck.Rules{OlderTakesOver: true}, modelcheck.Config{Versions: true}), []modelcheck.Property{p4}},

	{"2f: a row's entry with a generation, S1 by the lease alone", rules(modelcheck.Rules{JoinOldStamp: true},
		modelcheck.Config{Together: true, Stamp: true}), []modelcheck.Property{p1}},

	{"a fill without its lease", modelcheck.Config{Step: openFill}, []modelcheck.Property{p1, p2}},
	{"an invalidation that spares leases", modelcheck.Config{Step: sparingInvalidate}, []modelcheck.Property{p1, p2}},
	{"an invalidation that ends intents", modelcheck.Config{Strict: true, Step: endingInvalidate, Faults: modelcheck.Faults{InDoubt: true}}, []modelcheck.Property{p3}},
	{"an acquire that takes leases over", modelcheck.Config{Step: greedyAcquire}, []modelcheck.Property{p4}},
	{"an intent that spares values", modelcheck.Config{Strict: true, Step: sparingIntend}, []modelcheck.Property{p3}},
	{"tokens that outlive their deadline", modelcheck.Config{Strict: true, Step: immortal, Faults: modelcheck.Faults{WriterCrash: true}}, []modelcheck.Property{p4}},
}

// TestHoles takes rules away, one at a time: each must be missed, in a history that shows what it is for. With its rule in
// place, nothing is broken.
func TestHoles(t *testing.T) {
	for _, h := range holes {
		c := h.config
		if c.Readers == 0 {
			c.Readers = 2
		}
		if c.Writers == 0 {
			c.Writers = 2
		}
		got := modelcheck.Search(c, h.broken...)
		for _, p := range h.broken {
			if !got.Broken(p) {
				t.Errorf("%s: %s is not broken in %d states", h.name, p, got.States)
			} else {
				t.Logf("%s: %d states\n%s", h.name, got.States, got.History(p))
			}
		}
		if slow {
			continue
		}
		c.Rules, c.Step = modelcheck.Rules{}, nil
		sound := modelcheck.Search(c)
		for _, p := range h.broken {
			if sound.Broken(p) {
				t.Errorf("%s: %s is broken with the rule, too\n%s", h.name, p, sound.History(p))
			}
		}
	}
}

type step = func(store.Entry, store.Op, time.Time) (store.Entry, store.Reply)

// singleToken is an intent of one token: the last writer's. A release that does not find its own leaves what is there.
func singleToken(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	switch op.Kind {
	case store.Intend:
		e.Writers = nil
		if e.State == store.Intent {
			e = store.Entry{}
		}
	case store.Release:
		if e.State != store.Intent || e.Writers[0].Token != op.Token {
			op.Kind = store.Get
		}
	}
	return store.Step(e, op, now)
}

func sparingRelease(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.Release && e.State != store.Intent {
		op.Kind = store.Get
	}
	return store.Step(e, op, now)
}

func blindTakeOver(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.AcquireOver && e.State == store.Value {
		op.Value = e.Value
	}
	return store.Step(e, op, now)
}

func openFill(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.Fill && e.State == store.Absent {
		e, _ = store.Step(e, store.Op{Kind: store.Acquire, Token: op.Token, TTL: op.TTL}, now)
	}
	return store.Step(e, op, now)
}

func sparingInvalidate(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.Invalidate && e.State == store.Lease {
		op.Kind = store.Get
	}
	return store.Step(e, op, now)
}

func endingInvalidate(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.Invalidate {
		return store.Entry{}, store.Reply{}
	}
	return store.Step(e, op, now)
}

func greedyAcquire(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.Acquire && e.State == store.Lease {
		e = store.Entry{}
	}
	return store.Step(e, op, now)
}

func sparingIntend(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.Intend && e.State == store.Value {
		op.Kind = store.Get
	}
	return store.Step(e, op, now)
}

// immortal is what one life for the whole intent comes to, if each writer makes it longer.
func immortal(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if len(e.Writers) > 0 {
		now = now.Add(-24 * time.Hour)
	}
	return store.Step(e, op, now)
}

func keepingEnter(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	was := e.Token
	e, r := store.Step(e, op, now)
	if op.Kind == store.Enter && was != (store.Token{}) {
		e.Token = was
	}
	return e, r
}

func quietLeave(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	was := e
	e, r := store.Step(e, op, now)
	if op.Kind == store.Leave && r.Lost {
		e = was
	}
	return e, r
}

func callersNonce(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	if op.Kind == store.Bump {
		e = store.Entry{State: store.Generation, Token: op.Token, Expires: now.Add(time.Hour).UnixMilli()}
		return e, store.Reply{State: e.State, Token: e.Token}
	}
	return store.Step(e, op, now)
}

// counting is a generation that is one more with each bump, and begins at 1 when it is not there.
func counting(e store.Entry, op store.Op, now time.Time) (store.Entry, store.Reply) {
	number := func(n uint64) (t store.Token) {
		binary.BigEndian.PutUint64(t[:], n)
		return t
	}
	was := e.Token
	e, r := store.Step(e, op, now)
	switch {
	case op.Kind == store.Stamps && was == store.Token{}:
		e.Token = number(1)
	case op.Kind == store.Bump:
		e = store.Entry{State: store.Generation, Token: number(max(1, binary.BigEndian.Uint64(was[:])) + 1), Expires: now.Add(time.Hour).UnixMilli()}
	}
	r.State, r.Token = e.State, e.Token
	return e, r
}

// The wrappers above change what they are about, and nothing else: the real Step is what is left of them.
func TestStepOfHolesIsStepElsewhere(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for name, s := range map[string]step{"singleToken": singleToken, "sparingRelease": sparingRelease, "openFill": openFill, "counting": counting} {
		for kind := range store.Invalidate + 1 {
			op := store.Op{Kind: kind, Token: store.Token{1}, TTL: time.Minute}
			a, ra := s(store.Entry{}, op, now)
			b, rb := store.Step(store.Entry{}, op, now)
			if kind == store.Fill && name == "openFill" {
				continue
			}
			if !a.Equal(b) || ra.State != rb.State || !bytes.Equal(ra.Value, rb.Value) {
				t.Errorf("%s differs from Step for operation %d on an absent key", name, kind)
			}
		}
	}
}

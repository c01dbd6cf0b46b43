package protocol

import (
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/txhooks"
)

// Step is what a writer does to the keys of its transaction.
type Step uint8

const (
	// Mark sends the readers of the keys to the primary until the replicas have what is being committed.
	Mark Step = iota + 1
	// Intend announces the change to every key, or else the transaction is rolled back.
	Intend
	// Invalidate ends values and leases.
	Invalidate
	// Release takes the own tokens back, and ends values and leases where a token is gone.
	Release
	// InvalidateAgain is Invalidate, later: when the server has decided, as far as anybody can tell.
	InvalidateAgain
)

// Mode is how the keys of a table are kept.
type Mode struct {
	// Strict announces changes before COMMIT.
	Strict bool
	// Marks are needed where readers may ask a replica.
	Marks bool
}

// Before are the steps between the last statement and COMMIT, in order. A mark stands before what ends the values does:
// a reader looks for it after it has the lease (history 16). The same holds after COMMIT.
func Before(m Mode) []Step {
	switch {
	case m.Strict && m.Marks:
		return before[:]
	case m.Strict:
		return before[1:]
	}
	return nil
}

// After are the steps between the outcome and the return of the call, in order. The steps of one outcome are done for
// every key even if another's failed.
//
// In doubt, tokens are left to their deadlines: released now, they would let a reader store the old row before the server
// commits (history 7). Where there are none nothing protects the key (history 6): it is invalidated for what has been
// committed already, and again for what the server commits yet. That is done in strict mode, too, where it leaves tokens
// alone: they may have been lost, or end before the server decides.
func After(m Mode, o txhooks.Outcome) []Step {
	var steps []Step
	switch {
	case m.Strict && o != txhooks.InDoubt:
		steps = released[:]
	case o == txhooks.InDoubt:
		steps = inDoubt[:]
	case o == txhooks.Committed:
		steps = invalidated[:]
	default:
		return nil
	}
	if !m.Marks {
		steps = steps[1:]
	}
	return steps
}

// Relayed are the steps of the relay for a transaction that has committed, in order. Release is the writer's, with the
// writer's token: where the token is gone it ends values and leases, as Invalidate does, and it leaves the tokens of others
// alone (history 12).
func Relayed(m Mode) []Step { return After(m, txhooks.Committed) }

var (
	before      = [...]Step{Mark, Intend}
	released    = [...]Step{Mark, Release}
	invalidated = [...]Step{Mark, Invalidate}
	inDoubt     = [...]Step{Mark, InvalidateAgain, Invalidate}
)

// Kind is the operation of the step on a key; of Mark, on the mark beside it.
func (s Step) Kind() store.OpKind {
	switch s {
	case Mark, Intend:
		return store.Intend
	case Release:
		return store.Release
	}
	return store.Invalidate
}

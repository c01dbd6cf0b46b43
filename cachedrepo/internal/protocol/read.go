// Package protocol is what a reader and a writer of the cache decide, as pure functions: which step comes next, given what
// the store has answered. The runtime does what they say, and cachedrepo/internal/modelcheck searches every interleaving of
// the very same functions; the numbered histories are those of docs/protocol.md.
//
// What one operation does to one key is store.Step.
package protocol

import "github.com/asidego/aside/cachedrepo/store"

// Move is what a reader does next.
type Move uint8

const (
	// Database reads the primary and stores nothing. It may share a load, by Joins. It is the move that is always right, hence
	// the zero one.
	Database Move = iota
	// Return gives the caller the value that was found.
	Return
	// Acquire asks for the lease.
	Acquire
	// TakeOver asks for the lease over the value that was found.
	TakeOver
	// Load reads the database, from now on and in a snapshot of its own (history 14), then fills under the lease.
	Load
	// Share waits for the load that holds the lease that was found, see Held.
	Share
	// Wait looks again after a while.
	Wait
)

// Verdict is what a reader makes of the bytes of a Value.
type Verdict uint8

const (
	// Unusable is a value that is damaged, or of another epoch, or of another version of the record.
	Unusable Verdict = iota
	// Usable is an answer.
	Usable
	// Newer is the value of a newer version of the record. Between two versions the newer takes over and the older reads the
	// database: if both took over, each would end the other's values for ever.
	Newer
)

// Looked is the move after Get.
func Looked(found store.State, v Verdict) Move {
	switch found {
	case store.Absent:
		return Acquire
	case store.Value:
		switch v {
		case Usable:
			return Return
		case Unusable:
			return TakeOver
		}
	case store.Lease:
		return Share
	}
	return Database // an intent: somebody is about to commit a change (history 8 is why not even the lease is asked for)
}

// Acquired is the move after Acquire and AcquireOver with the token mine. TakeOver, here, means that another value than the
// one that was seen is there, which cannot be used either: as after Looked, but not for ever.
func Acquired(r store.Reply, mine store.Token, v Verdict) Move {
	if r.State == store.Lease && r.Token == mine {
		return Load
	}
	if m := Looked(r.State, v); m != Acquire {
		return m
	}
	return Database
}

// Held is the move after Share. known: the lease belongs to a load of this process. patient: there is time left to wait for
// another process's, which is a matter of load, not of correctness.
func Held(known, patient bool) Move {
	switch {
	case known:
		return Share
	case patient:
		return Wait
	}
	return Database
}

// Joins says whether a read may take the answer of a load that is under way. found is the lease that the read's own look
// has found, sent after the read began; none is the zero token. held is the load's, zero for one that stores nothing; sent
// says whether it has sent its query.
//
// Whatever load is running is not good enough (S0, history 13). S1: the lease was there after the read began, so that no
// write has ended it which returned before. S2: the load will read after the read began.
func Joins(found, held store.Token, sent bool) bool {
	return !sent || found == held && held != store.Token{}
}

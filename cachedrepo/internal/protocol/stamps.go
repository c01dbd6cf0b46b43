package protocol

import "github.com/asidego/aside/cachedrepo/store"

// Stamped is the move of a reader of an entry that carries the generations of its tables. now are the answers of Stamps, one
// for each table, in the order of the stamps that the entry was filled with; a missing entry has none. All were asked for
// after the read began. Load means: query from now on, and fill with the generations in now.
func Stamped(now []store.Reply, stamps []store.Token) Move {
	same := len(now) == len(stamps)
	for i, r := range now {
		if r.Held || r.State != store.Generation {
			return Database // somebody is about to commit: what is read now may be old before it is stored
		}
		same = same && r.Token == stamps[i]
	}
	if same {
		return Return
	}
	return Load
}

// OnGeneration is the operation of the step on the generation of a table. The order of steps is that of keys.
func (s Step) OnGeneration() store.OpKind {
	switch s {
	case Mark:
		return store.Intend // on the mark, which is a key of its own
	case Intend:
		return store.Enter
	case Release:
		return store.Leave
	}
	return store.Bump
}

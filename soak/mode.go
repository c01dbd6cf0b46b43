package soak

import "time"

// Mode is what the processes of a run have switched on, and so which promises they are held to.
type Mode struct {
	Name   string
	Strict bool
	Outbox bool
	TTL    time.Duration // of entries
}

// Modes are those that there are. Without an outbox nobody but the TTL repairs what a dead writer left, so it is short.
var Modes = map[string]Mode{
	"default": {Name: "default", TTL: 2 * time.Second},
}

// loadTimeout is short: a lease that a dead reader left is in the way for that long.
const loadTimeout = time.Second

// repaired is how long after all is quiet an entry may still be wrong that a dead writer or a lost answer left.
func (m Mode) repaired() time.Duration {
	if m.Outbox {
		return 15 * time.Second
	}
	return m.TTL*11/10 + loadTimeout + time.Second
}

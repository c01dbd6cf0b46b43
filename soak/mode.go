package soak

import (
	"cmp"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/internal/faultpoint"
)

// Mode is what the processes of a run have switched on, and so which promises they are held to.
type Mode struct {
	Name   string
	Strict bool
	Outbox bool
	TTL    time.Duration // of entries
	Stands time.Duration // how long an intent does that nobody takes back; 0: 1.5s
}

// Modes are those that there are. In default mode without an outbox nobody but the TTL repairs what a dead writer left, so
// it is short there; elsewhere it is long, so that it repairs nothing.
var Modes = []Mode{
	{Name: "default", TTL: 2 * time.Second},
	{Name: "outbox", Outbox: true, TTL: time.Hour},
	{Name: "strict", Strict: true, TTL: time.Hour},
	{Name: "strict+outbox", Strict: true, Outbox: true, TTL: time.Hour},
}

// ModeOf finds a mode.
func ModeOf(name string) (m Mode) {
	for _, m = range Modes {
		if m.Name == name {
			return m
		}
	}
	panic("no mode " + name)
}

// loadTimeout is short: a lease that a dead reader left is in the way for that long.
const loadTimeout = time.Second

// strictly has intents that end soon, so that a writer that stands still outlives its own.
func (m Mode) strictly() cachedrepo.StrictConfig {
	return cachedrepo.StrictConfig{Deadline: cmp.Or(m.Stands, 1500*time.Millisecond), Margin: 500 * time.Millisecond}
}

// repaired is how long after all is quiet an entry may still be wrong that a dead writer or a lost answer left. In strict
// mode there is none: intents stand there. loses: not if they were taken away; then without an outbox it is wrong for a TTL,
// which is not waited for.
func (m Mode) repaired(loses bool) (limit time.Duration, asked bool) {
	switch {
	case m.Outbox:
		return 15 * time.Second, true
	case !m.Strict:
		return m.TTL*11/10 + loadTimeout + time.Second, true
	}
	return 0, !loses
}

// cached is how long a key may stay uncached that nobody writes: an intent that a dead writer left ends, or a lease.
func (m Mode) cached() time.Duration {
	if m.Strict {
		return 2*m.strictly().Deadline + loadTimeout + 3*time.Second
	}
	return loadTimeout + 3*time.Second
}

// points are the fault points that somebody passes in this mode.
func (m Mode) points() map[faultpoint.Point]bool {
	points := make(map[faultpoint.Point]bool)
	for _, all := range [][]faultpoint.Point{faultpoint.Writes, faultpoint.Reads} {
		for _, p := range all {
			points[p] = true
		}
	}
	if !m.Outbox {
		delete(points, faultpoint.BeforeSettle)
		delete(points, faultpoint.AfterSettle)
	}
	return points
}

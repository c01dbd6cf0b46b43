package soak

import (
	"time"

	"golang.org/x/sys/unix"
)

// now is the machine's monotonic clock, in nanoseconds: the same in all processes, which time.Now's is not, and never set,
// which the wall clock is.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // every system that we run on has it
	}
	return t.Nano()
}

func since(at int64) time.Duration { return time.Duration(now() - at) }

package soak

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Figures are what a run has seen.
type Figures struct {
	Mode       string
	Seed       uint64
	Took       time.Duration
	Rounds     int
	Linear     int            // rounds of which P3 was asked
	Undecided  int            // registers of a round for which porcupine ran out of time
	Reads      int            // a register of a batch counts as one
	Writes     map[string]int // by outcome
	Failed     int            // reads that failed
	Failures   map[string]int
	Faults     map[string]int
	Killed     map[string]int // writers and readers killed, by point
	Stale      staleness
	Converged  time.Duration // the longest that it took the cache to be right, once all was quiet
	Stats      map[string]int64
	Violations int
}

func newFigures(mode string, seed uint64) *Figures {
	return &Figures{
		Mode: mode, Seed: seed, Writes: map[string]int{}, Faults: map[string]int{}, Killed: map[string]int{}, Stats: map[string]int64{}, Failures: map[string]int{},
	}
}

func (f *Figures) add(h *history) {
	for _, reads := range h.reads {
		f.Reads += len(reads)
	}
	for text, n := range h.failed {
		f.Failed += n
		if len(text) > 100 {
			text = text[:100]
		}
		if len(f.Failures) < 20 || f.Failures[text] > 0 {
			f.Failures[text] += n
		}
	}
	for _, w := range h.writes {
		f.Writes[w.outcome]++
	}
	for _, s := range h.struck {
		f.Faults[s.Kind]++
	}
}

func (f *Figures) String() string {
	var b strings.Builder
	writes := 0
	for _, n := range f.Writes {
		writes += n
	}
	fmt.Fprintf(&b, "%s: seed %d, %s, %d rounds\n", f.Mode, f.Seed, f.Took.Round(time.Second), f.Rounds)
	fmt.Fprintf(&b, "  operations: %d reads (and %d that failed), %d writes: %s\n", f.Reads, f.Failed, writes, list(f.Writes))
	fmt.Fprintf(&b, "  faults: %s\n", list(f.Faults))
	fmt.Fprintf(&b, "  killed at: %s\n", list(f.Killed))
	fmt.Fprintf(&b, "  stale reads: %d, the latest %s after the new row was there for all to see\n", f.Stale.Reads, f.Stale.Longest.Round(time.Millisecond))
	fmt.Fprintf(&b, "  longest convergence once all was quiet: %s\n", f.Converged.Round(time.Millisecond))
	fmt.Fprintf(&b, "  linearizability was asked of %d rounds; undecided registers: %d\n", f.Linear, f.Undecided)
	fmt.Fprintf(&b, "  counters: %s\n", list(f.Stats))
	if f.Failed > 0 {
		fmt.Fprintf(&b, "  failed reads: %s\n", list(f.Failures))
	}
	fmt.Fprintf(&b, "  violations: %d\n", f.Violations)
	return b.String()
}

func list[N int | int64](m map[string]N) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", k, m[k]))
	}
	return strings.Join(parts, ", ")
}

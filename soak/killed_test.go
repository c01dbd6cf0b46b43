package soak

import (
	"os"
	"testing"
	"time"
)

// A writer that dies between COMMIT and the post step has told its caller nothing and the cache nothing. Its intents stand
// in strict mode: nobody reads the old row. With an outbox others tell the cache, within a second. 100 times if ASIDE_SOAK is set.
func TestWritersKilledAfterCommitSoak(t *testing.T) {
	n := 2
	if os.Getenv("ASIDE_SOAK") != "" {
		n = 100
	}
	for _, mode := range Modes {
		t.Run(mode.Name, func(t *testing.T) {
			t.Parallel()
			n := n
			if mode.Name == "default" {
				n = (n + 4) / 5 // each takes the TTL
			}
			k, err := KillWriters(configFor(t, mode), n)
			if err != nil {
				t.Fatal(err)
			}
			t.Log(k)
			switch {
			case mode.Strict:
				if k.Stale > 0 {
					t.Errorf("%d stale reads", k.Stale)
				}
			case mode.Outbox:
				if late := k.At(99); late > time.Second && n >= 100 || late > 10*time.Second {
					t.Errorf("right after %s at p99, want 1s", late)
				}
			default:
				if limit, _ := mode.repaired(false); k.At(100) > limit {
					t.Errorf("right after %s, want %s", k.At(100), limit)
				}
				if k.Stale == 0 {
					t.Error("the entry was never wrong: nobody was killed in time")
				}
			}
		})
	}
}

package modelcheck_test

import (
	"os"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/modelcheck"
)

// TestSoakVerdicts is TestVerdicts with more of everything: reads that look again, faults that come twice, a second replica, a
// relay that dies; at last, as it takes longest, a third reader. Each search ends when its share of ASIDE_SOAK is over; what
// was seen until then must
// agree with the table, and the log says which were seen to the end.
func TestSoakVerdicts(t *testing.T) {
	soak, err := time.ParseDuration(os.Getenv("ASIDE_SOAK"))
	if err != nil {
		t.Skip("ASIDE_SOAK says for how long; make soak sets it")
	}
	const bounds = 3
	cells := 0
	for _, r := range table {
		for _, want := range r.want {
			if want != "-" {
				cells += bounds
			}
		}
	}
	end := time.Now().Add(soak)
	for b := range bounds {
		for _, r := range table {
			for i, v := range variants {
				if r.want[i] == "-" {
					continue
				}
				c := v.config
				c.Readers, c.Writers = 2, 2
				r.fault(&c)
				c.Faults.RelayCrash = c.Outbox
				switch b {
				case 1:
					c.Attempts = 2
					c.Faults.Evictions *= 2
					c.Faults.Failovers *= 2
					c.Faults.Repeats *= 2
					c.Faults.Late *= 2
					c.Replicas *= 2
				case 2:
					c.Readers, c.Writers = 3, 2
				}
				if b > 0 { // the first bounds are what TestVerdicts is without the race detector: they are seen to the end
					c.Until = time.Now().Add(time.Until(end) / time.Duration(cells))
				}
				cells--
				got := modelcheck.Search(c)
				t.Logf("%s, %s, bounds %d: %s, %d states, whole: %v", v.name, r.name, b+1, verdict(got), got.States, got.Whole)
				for p := range modelcheck.P4 + 1 {
					kept := r.want[i][p] == 'y'
					if kept && got.Broken(p) || !kept && got.Whole && !got.Broken(p) {
						t.Errorf("%s, %s: %s is %v, want %v\n%s", v.name, r.name, p, !got.Broken(p), kept, got.History(p))
					}
				}
			}
		}
	}
}

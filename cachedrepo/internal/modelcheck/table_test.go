package modelcheck_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo/internal/modelcheck"
)

// A variant is a column of the table: how a key is kept.
type variant struct {
	name   string
	config modelcheck.Config
}

var variants = []variant{
	{"W3", modelcheck.Config{}},
	{"W5", modelcheck.Config{Strict: true}},
	{"G1", modelcheck.Config{Query: true}},
	{"G4", modelcheck.Config{Query: true, Strict: true}},
}

// A row is a fault, or several, with what each variant keeps under it: P1 to P4 as y or n; "-" is not asked.
type row struct {
	name  string
	fault func(c *modelcheck.Config)
	want  [4]string // of W3, W5, G1, G4
}

// The first part is the table of the design, word for word. What follows are additions.
var table = []row{
	{"none", func(*modelcheck.Config) {}, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"reader crash, lease expiry", func(c *modelcheck.Config) {
		c.Faults.ReaderCrash, c.Faults.LeaseExpiry = true, true
	}, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"writer crash", func(c *modelcheck.Config) { c.Faults.WriterCrash = true }, [4]string{"ynny", "yyyy", "ynny", "yyyy"}},
	{"writer crash + outbox", func(c *modelcheck.Config) {
		c.Faults.WriterCrash, c.Outbox = true, true
	}, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"in-doubt commit, post step run at once", func(c *modelcheck.Config) {
		c.Faults.InDoubt, c.Rules.ReleaseInDoubt, c.Rules.NeverAgain = true, true, true
	}, [4]string{"ynny", "ynny", "ynny", "ynny"}},
	{"in-doubt commit, token left to its deadline", func(c *modelcheck.Config) { c.Faults.InDoubt = true }, [4]string{"-", "yyyy", "-", "yyyy"}},
	{"in-doubt commit + outbox", func(c *modelcheck.Config) {
		c.Faults.InDoubt, c.Rules.ReleaseInDoubt, c.Rules.NeverAgain, c.Outbox = true, true, true, true
	}, [4]string{"yyny", "yyny", "yyny", "yyny"}},
	{"intent or token expires before commit", func(c *modelcheck.Config) { c.Faults.TokenExpiry = true }, [4]string{"-", "yyny", "-", "yyny"}},
	{"the same, with a shorter DB-side transaction timeout", func(c *modelcheck.Config) { c.Faults.Timeout = true }, [4]string{"-", "yyyy", "-", "yyyy"}},
	{"eviction of K or of the generation", func(c *modelcheck.Config) { c.Faults.Evictions = 1 }, [4]string{"yyny", "yyny", "yyny", "yyny"}},
	{"cache unreachable after commit, success returned", func(c *modelcheck.Config) { c.Faults.Unreachable = true }, [4]string{"nnny", "yyyy", "nnny", "yyyy"}},
	{"the same + outbox", func(c *modelcheck.Config) {
		c.Faults.Unreachable, c.Outbox = true, true
	}, [4]string{"nyny", "yyyy", "nyny", "yyyy"}},
	{"replica lag, no mark", func(c *modelcheck.Config) { c.Replicas = 1 }, [4]string{"nnny", "nnny", "nnny", "nnny"}},
	{"replica lag + mark", func(c *modelcheck.Config) { c.Replicas, c.Marks = 1, true }, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"cache failover (asynchronous)", func(c *modelcheck.Config) { c.Faults.Failovers = 1 }, [4]string{"nnny", "nnny", "nnny", "nnny"}},
	{"the same + epoch", func(c *modelcheck.Config) {
		c.Faults.Failovers, c.Epoch = 1, true
	}, [4]string{"yyny", "yyny", "yyny", "yyny"}},
	{"the same + WAIT on intend and post step", func(c *modelcheck.Config) {
		c.Faults.Failovers, c.Wait = 1, true
	}, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},

	{"rollback by the caller", func(c *modelcheck.Config) { c.Faults.Rollback = true }, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"in-doubt commit, invalidated again when it is decided", func(c *modelcheck.Config) { c.Faults.InDoubt = true }, [4]string{"yyny", "-", "yyny", "-"}},
	{"in-doubt commit, tokens left, outbox", func(c *modelcheck.Config) {
		c.Faults.InDoubt, c.Outbox = true, true
	}, [4]string{"-", "yyyy", "-", "yyyy"}},
	{"writer dies, COMMIT outlives its tokens", func(c *modelcheck.Config) {
		c.Faults.WriterCrash, c.Faults.StuckCommit = true, true
	}, [4]string{"-", "ynny", "-", "ynny"}},
	{"the same + outbox", func(c *modelcheck.Config) {
		c.Faults.WriterCrash, c.Faults.StuckCommit, c.Outbox = true, true, true
	}, [4]string{"-", "yyny", "-", "yyny"}},
	{"in-doubt commit, which outlives its tokens; invalidated again", func(c *modelcheck.Config) {
		c.Faults.InDoubt, c.Faults.StuckCommit = true, true
	}, [4]string{"-", "yyny", "-", "yyny"}},
	{"cache unreachable before commit, the write goes on", func(c *modelcheck.Config) { c.Faults.Away = true }, [4]string{"-", "yyny", "-", "yyny"}},
	{"replies lost, commands repeated", func(c *modelcheck.Config) { c.Faults.Repeats = 1 }, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"callers give up, commands arrive later", func(c *modelcheck.Config) { c.Faults.Late = 1 }, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"readers of one process, which share loads", func(c *modelcheck.Config) { c.Together = true }, [4]string{"yyny", "yyyy", "yyny", "yyyy"}},
	{"two versions of the program", func(c *modelcheck.Config) { c.Versions, c.Readers, c.Writers = true, 3, 1 }, [4]string{"yyny", "yyyy", "-", "-"}},
	{"a strict and a default writer", func(c *modelcheck.Config) { c.Mixed = true }, [4]string{"-", "yyny", "-", "yyny"}},
}

// TestVerdicts holds the library to the table of its design: what it says is kept is kept in every history of these bounds,
// and what it says is not has a history.
func TestVerdicts(t *testing.T) {
	var lines strings.Builder
	total := 0
	for _, r := range table {
		fmt.Fprintf(&lines, "| %s |", r.name)
		for i, v := range variants {
			if r.want[i] == "-" {
				lines.WriteString(" - |")
				continue
			}
			c := v.config
			c.Readers, c.Writers = 2, 2
			r.fault(&c)
			if slow && (c.Outbox || c.Replicas > 0 || c.Faults.Failovers > 0 || c.Faults.InDoubt || c.Query && c.Strict) && !c.Mixed {
				c.Writers = 1 // the whole of it is seen without the race detector, and by the soak test
			}
			got := modelcheck.Search(c)
			total += got.States
			fmt.Fprintf(&lines, " %s %d |", verdict(got), got.States)
			if !got.Whole {
				t.Errorf("%s, %s: the search ended after %d states", v.name, r.name, got.States)
			}
			for p := range modelcheck.P4 + 1 {
				kept := r.want[i][p] == 'y'
				if kept == got.Broken(p) {
					t.Errorf("%s, %s: %s is %v, want %v\n%s", v.name, r.name, p, !got.Broken(p), kept, got.History(p))
				}
			}
		}
		lines.WriteString("\n")
	}
	t.Logf("%d states\n%s", total, lines.String())
}

// TestStamps is TestVerdicts for row entries that carry their table's generation: the first writer changes a row, and acts
// on its key; the second changes the whole table, and acts on the generation alone. Each keeps what it keeps by itself.
func TestStamps(t *testing.T) {
	total := 0
	for _, r := range table {
		for i, strict := range [2]bool{false, true} {
			c := modelcheck.Config{Readers: 2, Writers: 2, Stamp: true, Strict: strict}
			r.fault(&c)
			if r.want[i] == "-" || c.Versions || slow && (c.Outbox || c.Replicas > 0 || c.Faults != (modelcheck.Faults{})) {
				continue
			}
			got := modelcheck.Search(c)
			total += got.States
			t.Logf("%s, strict %v: %s, %d states", r.name, strict, verdict(got), got.States)
			for p := range modelcheck.P4 + 1 {
				kept := r.want[i][p] == 'y'
				if kept == got.Broken(p) {
					t.Errorf("%s, strict %v: %s is %v, want %v\n%s", r.name, strict, p, !got.Broken(p), kept, got.History(p))
				}
			}
		}
	}
	t.Logf("%d states", total)
}

func verdict(r *modelcheck.Result) string {
	var b strings.Builder
	for _, kept := range r.Kept() {
		if kept {
			b.WriteByte('y')
		} else {
			b.WriteByte('n')
		}
	}
	return b.String()
}

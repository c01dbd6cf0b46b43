package soak

import (
	"flag"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
)

var (
	seed         = flag.Uint64("seed", 0, "of the faults and the operations; 0: another one each time")
	scheduleFile = flag.String("schedule", "", "a file with the faults of a run that failed, instead of those of the seed")
)

func TestMain(m *testing.M) {
	if Child() {
		return
	}
	testenv.Main(m)
}

// short is how long all modes together take under make test.
const short = time.Minute

// lasting is how long one mode is to run.
func lasting(t *testing.T) time.Duration {
	t.Helper()
	total := short
	if text := os.Getenv("ASIDE_SOAK"); text != "" {
		var err error
		if total, err = time.ParseDuration(text); err != nil {
			t.Fatalf("ASIDE_SOAK: %v", err)
		}
	}
	return total / time.Duration(len(Modes))
}

func configFor(t *testing.T, mode Mode) Config {
	t.Helper()
	pg := testenv.PostgresWith(t, schema)
	if mode.Outbox {
		if err := migrations.Apply(t.Context(), pg.URL()); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{Mode: mode, Seed: *seed, Database: pg.URL(), Postgres: pg.Addr(), Through: pg.URLThrough, Log: t.Logf}
	if cfg.Seed == 0 {
		cfg.Seed = uint64(rand.Uint32())
	}
	return cfg
}

// TestSoak is the proof under faults, of each mode: a short one, or as long as ASIDE_SOAK says.
func TestSoak(t *testing.T) {
	for _, mode := range Modes {
		t.Run(mode.Name, func(t *testing.T) {
			cfg := configFor(t, mode)
			cfg.For = lasting(t)
			if *scheduleFile != "" {
				var err error
				if cfg.Replay, err = ReadSchedule(*scheduleFile); err != nil {
					t.Fatal(err)
				}
			}
			f, err := Run(cfg)
			t.Logf("%s", f)
			if err != nil {
				t.Fatal(err)
			}
			if f.Violations > 0 {
				t.Errorf("%d violations", f.Violations)
			}
		})
	}
}

// A soak that finds nothing proves nothing unless it finds what is there: each of these breaks one rule in the store that
// all processes use.
func TestBrokenRulesAreFound(t *testing.T) {
	for _, rule := range []string{brokenInvalidate, brokenFill} {
		t.Run(rule, func(t *testing.T) {
			cfg := configFor(t, ModeOf("default"))
			cfg.For, cfg.Round, cfg.Broken, cfg.Rows = 20*time.Second, time.Second, rule, 3
			cfg.Mode.TTL = time.Minute
			f, err := Run(cfg)
			if err != nil {
				t.Fatal(err)
			}
			if f.Violations == 0 {
				t.Errorf("found nothing\n%s", f)
			}
		})
	}
}

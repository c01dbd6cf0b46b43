package soak

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asidego/aside/internal/faultpoint"
)

// The store is away when somebody writes, and the writer dies before it is back: nobody is left who knows what is pending.
// The outbox does; in strict mode the write is refused, or, if the store went away after the intents were placed, they
// stand.
func TestWriterDiesDuringAnOutage(t *testing.T) {
	for name, tt := range map[string]struct {
		mode   string
		after  faultpoint.Point // the store goes away when the writer is there; empty: before it begins
		refuse bool
	}{
		"outbox":                      {mode: "outbox"},
		"strict":                      {mode: "strict", refuse: true},
		"strict, after its intents":   {mode: "strict", after: faultpoint.AfterGuard},
		"strict+outbox, refused":      {mode: "strict+outbox", refuse: true},
		"strict+outbox, with intents": {mode: "strict+outbox", after: faultpoint.AfterGuard},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mode := ModeOf(tt.mode)
			mode.Stands = 5 * time.Second // so that it is in time on a busy machine
			s, err := newStage(configFor(t, mode))
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			told := make(chan event, 1)
			p, err := s.writer(1, told)
			if err != nil {
				t.Fatal(err)
			}
			defer p.end()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := s.cached(ctx); err != nil {
				t.Fatal(err)
			}
			if tt.after != "" {
				if err := p.say("strike", string(tt.after)+":stop"); err != nil {
					t.Fatal(err)
				}
			}
			away := func() {
				if err := s.redis.Stop(); err != nil {
					t.Fatal(err)
				}
			}
			if tt.after == "" {
				away()
			}
			if err := p.say("modify", ""); err != nil {
				t.Fatal(err)
			}
			if tt.after != "" {
				if err := s.guarded(ctx); err != nil {
					t.Fatal(err)
				}
				away()
				p.signal(syscall.SIGCONT)
			}
			var e event
			select {
			case e = <-told:
			case <-ctx.Done():
				t.Fatal("the writer hangs")
			}
			p.end()
			val, err := s.stored()
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case tt.refuse && (e.Outcome != rolledBack || !strings.Contains(e.Err, "could not be announced") || val != 1):
				t.Errorf("the writer was told %s (%s), the row is %d: want it refused", e.Outcome, e.Err, val)
			case !tt.refuse && (e.Outcome != committed || e.Pending == 0 || val != e.Op):
				t.Errorf("the writer was told %s, %d pending (%s), the row is %d: want it committed and reported", e.Outcome, e.Pending, e.Err, val)
			}
			if err := s.redis.Continue(); err != nil {
				t.Fatal(err)
			}
			stale := 0
			for back := time.Now(); ; time.Sleep(time.Millisecond) {
				rec, err := s.reader.items.Find(ctx, 1)
				if err != nil {
					t.Fatal(err)
				}
				if rec.Val == val {
					t.Logf("right %s after the store was back, %d stale reads", time.Since(back).Round(time.Millisecond), stale)
					break
				}
				stale++
			}
			if stale > 0 && strings.HasPrefix(tt.mode, "strict") {
				t.Errorf("%d stale reads", stale)
			}
			// Once the relay has run it stays right, and is cached again.
			if err := s.cached(ctx); err != nil {
				t.Error(err)
			}
			if rec, err := s.reader.items.Find(ctx, 1); err != nil || rec.Val != val {
				t.Errorf("read %d, %v; the row is %d", rec.Val, err, val)
			}
		})
	}
}

// guarded reads until a reader finds an intent.
func (s *stage) guarded(ctx context.Context) error {
	before := s.reader.cache.Stats().Guarded
	for ctx.Err() == nil {
		if _, err := s.reader.items.Find(ctx, 1); err != nil {
			return err
		}
		if s.reader.cache.Stats().Guarded > before {
			return nil
		}
	}
	return errors.New("no intent is ever seen")
}

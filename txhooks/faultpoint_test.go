package txhooks

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/asidego/aside/internal/faultpoint"
)

// A process killed at a point must have done what the point's name says and no more: the points of one transaction are
// passed in their order, and around what they name. Not parallel: points are the whole process's.
func TestPointsOfATransaction(t *testing.T) {
	db := open(t, "postgres", Config{})
	var mu sync.Mutex
	var passed []string
	note := func(what string) {
		mu.Lock()
		defer mu.Unlock()
		passed = append(passed, what)
	}
	defer faultpoint.Set(func(p faultpoint.Point) { note(string(p)) })()
	defer db.Subscribe(noted(note))()
	err := db.Run(t.Context(), func(ctx context.Context) error {
		insert(t, db, ctx, 1)
		note("fn")
		AfterCommit(ctx, func(context.Context) { note("AfterCommit") })
		return db.Changed(ctx, change(1))
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"after-begin", "fn", "before-stage", "Stage", "after-stage", "before-guard", "Guard", "after-guard", "before-commit",
		"after-commit", "before-post", "Ended", "after-post", "before-settle", "Settled", "after-settle", "AfterCommit",
	}
	if !slices.Equal(passed, want) {
		t.Errorf("passed %v, want %v", passed, want)
	}
}

// noted is a subscriber that takes part in everything.
type noted func(what string)

func (n noted) Ended(context.Context, Outcome, Changes) int {
	n("Ended")
	return 0
}

func (n noted) Stage(context.Context, Changes) error {
	n("Stage")
	return nil
}

func (n noted) Guard(context.Context, Changes) (time.Time, error) {
	n("Guard")
	return time.Time{}, nil
}

func (n noted) Settled(context.Context, Outcome, Changes, int) { n("Settled") }

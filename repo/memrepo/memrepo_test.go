package memrepo_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/memrepo"
)

func TestRecordsAreTheCallersOwn(t *testing.T) {
	t.Parallel()
	owner := "me"
	given := item{ID: 1, SKU: "a", Owner: &owner, Tags: pq.StringArray{"x"}}
	r := memrepo.New(items, given)
	spoil := func(i *item) { i.Tags[0], *i.Owner = "spoilt", "spoilt" }
	spoil(&given)
	got, err := r.Find(t.Context(), 1)
	if err != nil || got.Tags[0] != "x" || *got.Owner != "me" {
		t.Fatalf("what New was given: %+v, %v", got, err)
	}
	spoil(&got)
	many, err := r.FindMany(t.Context(), []int64{1, 1})
	if err != nil || many[0].Tags[0] != "x" {
		t.Fatalf("what Find returned: %+v, %v", many, err)
	}
	spoil(&many[0])
	if *many[1].Owner != "me" {
		t.Error("what FindMany returned twice")
	}
	var kept *item
	if _, err = r.Modify(t.Context(), 1, func(i *item) error { kept = i; i.Tags = append(i.Tags, "y"); return nil }); err != nil {
		t.Fatal(err)
	}
	spoil(kept)
	_, err = r.Modify(t.Context(), 1, func(i *item) error { spoil(i); return errors.New("no") })
	if err == nil {
		t.Error("change's error was lost")
	}
	if got, err = r.Find(t.Context(), 1); err != nil || got.Tags[0] != "x" || *got.Owner != "me" || len(got.Tags) != 2 {
		t.Errorf("what change was given: %+v, %v", got, err)
	}
}

func TestNoModificationIsLost(t *testing.T) {
	t.Parallel()
	r := memrepo.New(items, item{ID: 1})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if _, err := r.Modify(t.Context(), 1, func(i *item) error { i.Shelf++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got, err := r.Find(t.Context(), 1); err != nil || got.Shelf != 400 || got.Version != 400 {
		t.Errorf("%+v, %v", got, err)
	}
}

// As in the database, a writer waits for the one before it, as long as its context lets it.
func TestWritersOfOneRowTakeTurns(t *testing.T) {
	t.Parallel()
	r := memrepo.New(items, item{ID: 1, SKU: "a"}, item{ID: 2, SKU: "b"})
	nothing := func(*item) error { return nil }
	_, err := r.Modify(t.Context(), 1, func(*item) error {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := r.Modify(ctx, 2, nothing); err != nil {
			t.Errorf("another row: %v", err)
		}
		if _, err := r.Modify(ctx, 1, nothing); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("this row: %v", err)
		}
		if err := r.Delete(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("delete: %v", err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

type doc struct {
	ID   uuid.UUID `db:"id"`
	Made time.Time `db:"made,default"`
}

func TestKeysAndDefaults(t *testing.T) {
	t.Parallel()
	docs := model.MustTable(model.Spec[doc, uuid.UUID]{Name: "docs", Key: "id"})
	_, err := memrepo.New(docs).Insert(t.Context(), doc{})
	if err == nil || !strings.Contains(err.Error(), "repo: docs: insert id=00000000-0000-0000-0000-000000000000: its key has a zero column") {
		t.Errorf("zero uuid: %v", err)
	}
	r := memrepo.New(docs).Fill(func(d *doc, insert bool) {
		if insert {
			d.ID, d.Made = uuid.New(), time.Now()
		}
	})
	got, err := r.Insert(t.Context(), doc{})
	if err != nil || got.ID == uuid.Nil || got.Made.Location() != time.UTC {
		t.Errorf("%+v, %v", got, err)
	}
	// Keys are assigned around those that are there.
	i := memrepo.New(items, item{ID: 1, SKU: "a"})
	next, err := i.Insert(t.Context(), item{SKU: "b"})
	if err != nil || next.ID != 2 {
		t.Errorf("%+v, %v", next, err)
	}
	defer func() {
		if recover() == nil {
			t.Error("New took a duplicate")
		}
	}()
	memrepo.New(items, item{ID: 1, SKU: "a"}, item{ID: 2, SKU: "a"})
}

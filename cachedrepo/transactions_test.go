package cachedrepo_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// A read on the context outside the transaction does not see the transaction's writes, be it a hit or not: tests can have
// it fail.
func TestOuterContextRefusedInReads(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	s.db = txhooks.New(s.conn, txhooks.Config{RefuseOuter: true})
	s.plain = repo.New(s.db, products)
	p := s.insert(t, "a")
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{})
	cached, v := cachedrepo.Wrap(c, s.plain), c.View("shop")
	ctx := t.Context()
	if _, err := cached.Find(ctx, p.ID); err != nil { // now a hit
		t.Fatal(err)
	}
	err := s.db.Run(ctx, func(tx context.Context) error {
		_, find := cached.Find(ctx, p.ID)
		_, bypass := cached.Find(cachedrepo.Bypass(ctx), p.ID)
		_, by := cached.FindBy(ctx, bySKU.Eq("a"))
		_, many := cached.FindMany(ctx, []int64{p.ID})
		_, list := cached.ListBy(ctx, byCategory.Eq(1), repo.Page{})
		_, count := cached.Count(ctx, byCategory.Eq(1))
		_, insert := cached.Insert(ctx, product{SKU: "b"})
		_, view := cachedrepo.Find(ctx, v, products.Row(p.ID), func(context.Context) (product, error) { return p, nil })
		write := v.Write(ctx, nil, func(context.Context) error { t.Error("fn ran"); return nil })
		for what, err := range map[string]error{
			"Find": find, "Bypass": bypass, "FindBy": by, "FindMany": many, "ListBy": list, "Count": count, "Insert": insert,
			"View": view, "Write": write,
		} {
			if !errors.Is(err, txhooks.ErrOuterContext) {
				t.Errorf("%s: %v", what, err)
			}
		}
		_, err := cached.Find(tx, p.ID)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := cached.Find(ctx, p.ID); err != nil {
		t.Error(err)
	}
}

// A hook's context is outside the transaction: what it finds comes through the cache, and is what was committed.
func TestFindInAfterCommit(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.insert(t, "a")
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{})
	cached := cachedrepo.Wrap(c, s.plain)
	ended := func(how func(ctx context.Context, end func(ctx context.Context)) error) {
		t.Helper()
		if _, err := cached.Find(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
		before := c.Stats()
		ran := false
		err := how(t.Context(), func(ctx context.Context) {
			ran = true
			for range 2 {
				got, err := cached.Find(ctx, p.ID)
				if err != nil || got.Name != "new" {
					t.Errorf("in AfterCommit: %q, %v", got.Name, err)
				}
			}
		})
		after := c.Stats()
		if err != nil || !ran {
			t.Errorf("%v; the hook ran: %t", err, ran)
		}
		if after.InTransaction != before.InTransaction || after.Misses != before.Misses+1 || after.Hits != before.Hits+1 {
			t.Errorf("from %+v to %+v", before, after)
		}
	}
	write := func(ctx context.Context, end func(ctx context.Context)) error {
		txhooks.AfterCommit(ctx, end)
		_, err := cached.Modify(ctx, p.ID, func(p *product) error { p.Name = "new"; p.Category = new(int64); return nil })
		return err
	}
	ended(func(ctx context.Context, end func(ctx context.Context)) error {
		return s.db.Run(ctx, func(ctx context.Context) error { return write(ctx, end) })
	})
	s.conn.MustExec("UPDATE products SET name = 'old'")
	// In a transaction that was adopted it is the same.
	ended(func(ctx context.Context, end func(ctx context.Context)) error {
		tx, err := s.conn.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		inside, adopted, err := s.db.Adopt(ctx, tx)
		if err != nil {
			return err
		}
		defer adopted.Rollback()
		if err := write(inside, end); err != nil {
			return err
		}
		return adopted.Commit(ctx)
	})
}

// Its owner commits an adopted transaction himself: the keys go when Adopted is told, and again.
func TestAdoptedEndedByItsOwner(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	p := s.insert(t, "a")
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{})
	cached := cachedrepo.Wrap(c, s.plain)
	if _, err := cached.Find(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	tx := s.conn.MustBegin()
	ctx, adopted, err := s.db.Adopt(t.Context(), tx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := cached.Modify(ctx, p.ID, func(p *product) error { p.Name = "new"; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, _ := cached.Find(t.Context(), p.ID); got.Name != "old" {
		t.Errorf("before the cache was told: %q", got.Name)
	}
	if err := adopted.Commit(t.Context()); !errors.Is(err, model.ErrInDoubt) || !errors.Is(err, txhooks.ErrEndedOutside) {
		t.Errorf("Commit: %v", err)
	}
	if got, err := cached.Find(t.Context(), p.ID); err != nil || got.Name != "new" {
		t.Errorf("%q, %v", got.Name, err)
	}
	if n := c.Stats().InDoubt; n != 1 {
		t.Errorf("in doubt: %d", n)
	}
}

// As many transactions as there are connections, each reading on the context outside: the loads have no connection to run
// on, and end by their own time, the wait for the pool included. Nothing hangs.
func TestLoadsWhileTransactionsHoldAllConnections(t *testing.T) {
	t.Parallel()
	const n = 4
	s := newShop(t)
	var rows []product
	for _, sku := range []string{"a", "b", "c", "d"} {
		rows = append(rows, s.insert(t, sku))
	}
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{LoadTimeout: 300 * time.Millisecond})
	cached := cachedrepo.Wrap(c, s.plain)
	s.conn.SetMaxOpenConns(n)
	var begun, refused, all sync.WaitGroup
	begun.Add(n)
	refused.Add(n)
	for i := range n {
		all.Go(func() {
			ctx := t.Context() // no deadline of its own
			err := s.db.Run(ctx, func(tx context.Context) error {
				begun.Done()
				begun.Wait()
				read := func() error { _, err := cached.Find(ctx, rows[i].ID); return err }
				if i == 0 {
					read = func() error { _, err := cached.FindMany(ctx, []int64{rows[0].ID}); return err }
				}
				if err := read(); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("a read with no connection left: %v", err)
				}
				refused.Done() // the first must not give its connection to the last
				refused.Wait()
				_, err := cached.Find(tx, rows[i].ID)
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if st := c.Stats(); st.Starved != n || st.LoadErrors != n {
		t.Errorf("starved %d, load errors %d", st.Starved, st.LoadErrors)
	}
	if _, err := cached.FindMany(t.Context(), []int64{rows[0].ID, rows[1].ID}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

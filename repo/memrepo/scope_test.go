package memrepo_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/repo/memrepo"
	"github.com/asidego/aside/txhooks"
)

const deskSchema = `CREATE TABLE desks (
	firm text COLLATE "C" NOT NULL, id bigint NOT NULL, label text COLLATE "C" NOT NULL, room bigint NOT NULL, version integer NOT NULL,
	PRIMARY KEY (firm, id), UNIQUE (firm, label))`

type desk struct {
	Firm    string `db:"firm"`
	ID      int64  `db:"id"`
	Label   string `db:"label"`
	Room    int64  `db:"room"`
	Version int    `db:"version"`
}

var (
	byLabel = model.NewUnique[desk, string]("label")
	byRoom  = model.NewIndex[desk, int64]("room")
	desks   = model.MustTable(model.Spec[desk, int64]{
		Name: "desks", Key: "id", Scope: "firm", Version: "version", Indexes: model.Indexes[desk]{byLabel, byRoom},
	})
)

type firmKey struct{}

func firmOf(ctx context.Context) (any, error) { return ctx.Value(firmKey{}), nil }

// Every method of a repository stays within the scope of its context, on PostgreSQL with both drivers and in memory alike.
func TestScope(t *testing.T) {
	t.Parallel()
	script := func(desks repo.Repository[desk, int64]) (log []string) {
		a := context.WithValue(t.Context(), firmKey{}, "a")
		b := context.WithValue(t.Context(), firmKey{}, "b")
		note := func(what string, rec any, err error) {
			kind := "ok"
			for _, k := range []error{model.ErrNotFound, model.ErrConflict, model.ErrDuplicate, model.ErrNoScope} {
				if errors.Is(err, k) {
					kind = k.Error()
				}
			}
			if kind == "ok" && err != nil {
				kind = "error"
				if strings.Contains(err.Error(), "scope") {
					kind = "scope"
				}
			}
			log = append(log, fmt.Sprintf("%s: %+v %s", what, rec, kind))
		}
		for _, ctx := range []context.Context{a, b} {
			rec, err := desks.Insert(ctx, desk{ID: 1, Label: "x", Room: 3})
			note("insert", rec, err)
		}
		rec, err := desks.Insert(a, desk{ID: 1, Label: "y"})
		note("insert again", rec, err)
		rec, err = desks.Insert(a, desk{ID: 2, Label: "x"})
		note("insert another's label", rec, err)
		rec, err = desks.Insert(a, desk{Firm: "b", ID: 2, Label: "z"})
		note("insert for another", rec, err)
		rec, err = desks.Insert(a, desk{Firm: "a", ID: 2, Label: "z", Room: 3})
		note("insert for itself", rec, err)
		rec, err = desks.Insert(t.Context(), desk{Firm: "a", ID: 3, Label: "w"})
		note("insert without", rec, err)
		rec, err = desks.Modify(b, 2, func(*desk) error { return nil })
		note("modify another's", rec, err)
		rec, err = desks.Modify(b, 1, func(d *desk) error { d.Firm = "a"; return nil })
		note("modify away", rec, err)
		rec, err = desks.Modify(b, 1, func(d *desk) error { d.Label = "of b"; return nil })
		note("modify", rec, err)
		rec, err = desks.Update(a, rec)
		note("update another's record", rec, err)
		rec, err = desks.Update(a, desk{ID: 1, Label: "of a", Room: 3})
		note("update", rec, err)
		rec, err = desks.FindBy(a, byLabel.Eq("of b"))
		note("find by another's label", rec, err)
		many, err := desks.FindMany(b, []int64{2, 1, 1})
		note("find many", many, err)
		list, err := desks.ListBy(a, byRoom.Eq(3), repo.Page{Limit: 1})
		note("list", list.Items, err)
		list, err = desks.ListBy(a, byRoom.Eq(3), repo.Page{Limit: 1, After: list.Next})
		note("list on", list.Items, err)
		n, err := desks.Count(a, byRoom.Eq(3))
		note("count", n, err)
		note("delete another's", nil, desks.Delete(b, 2))
		note("delete", nil, desks.Delete(b, 1))
		rec, err = desks.Find(a, 1)
		note("find what is left", rec, err)
		_, err = desks.Find(t.Context(), 1)
		note("find without", nil, err)
		return log
	}
	want := script(memrepo.New(desks).Scope(firmOf))
	for _, driver := range []string{"postgres", "pgx"} {
		db := sqlx.MustOpen(driver, testenv.PostgresWith(t, deskSchema).URL())
		t.Cleanup(func() { _ = db.Close() })
		if got := script(repo.New(txhooks.New(db, txhooks.Config{Scope: firmOf}), desks)); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nin memory:\n%s", driver, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	for _, must := range []string{
		"insert: {Firm:b ID:1 Label:x Room:3 Version:0} ok", "insert another's label: {Firm: ID:0 Label: Room:0 Version:0} duplicate",
		"modify another's: {Firm: ID:0 Label: Room:0 Version:0} not found", "find what is left: {Firm:a ID:1 Label:of a Room:3 Version:1} ok",
	} {
		if !slices.Contains(want, must) {
			t.Errorf("no %q in\n%s", must, strings.Join(want, "\n"))
		}
	}
}

// What only the SQL repository has stays within the scope too.
func TestScopeOfStatements(t *testing.T) {
	t.Parallel()
	conn := sqlx.MustOpen("postgres", testenv.PostgresWith(t, deskSchema).URL())
	t.Cleanup(func() { _ = conn.Close() })
	desks := repo.New(txhooks.New(conn, txhooks.Config{Scope: firmOf}), desks)
	a, b := context.WithValue(t.Context(), firmKey{}, "a"), context.WithValue(t.Context(), firmKey{}, "b")
	for _, ctx := range []context.Context{a, b} {
		if _, err := desks.InsertMany(ctx, []desk{{ID: 1, Label: "x", Room: 1}, {ID: 2, Label: "y", Room: 1}}); err != nil {
			t.Fatal(err)
		}
	}
	count := func(ctx context.Context) (n int) {
		for d, err := range desks.All(ctx) {
			if err != nil || d.Firm != ctx.Value(firmKey{}) {
				t.Fatal(d, err)
			}
			n++
		}
		return n
	}
	if n, err := desks.UpdateWhere(a, repo.Bulk{Set: "room = room + $1", Where: "room = $2 OR TRUE", Args: []any{1, 1}}); n != 2 || err != nil {
		t.Errorf("%d rows updated, %v", n, err)
	}
	if n, err := desks.UpdateWhere(a, repo.Bulk{Set: "firm = 'b', id = id + 10, label = label || '2'", Where: "TRUE"}); n != 0 || err == nil || !strings.Contains(err.Error(), "another scope") {
		t.Errorf("%d rows updated, %v", n, err)
	}
	if recs, err := desks.Where(b, "room > $1 OR TRUE ORDER BY id", 0); len(recs) != 2 || err != nil || recs[0].Room != 1 || recs[0].Firm != "b" {
		t.Errorf("%+v, %v", recs, err)
	}
	if d, err := desks.Upsert(b, desk{ID: 1, Label: "up", Room: 7}, desks.Table()); err != nil || d.Firm != "b" || d.Room != 7 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := desks.Upsert(b, desk{ID: 9, Label: "up", Room: 8}, byLabel); err != nil || d.ID != 1 || d.Room != 8 {
		t.Errorf("%+v, %v", d, err)
	}
	if d, err := desks.Find(a, 1); err != nil || d.Label != "x" || d.Room != 2 {
		t.Errorf("%+v, %v", d, err)
	}
	if n, err := desks.DeleteWhere(a, repo.Bulk{Where: "TRUE OR id = $1", Args: []any{1}}); n != 2 || err != nil {
		t.Errorf("%d rows deleted, %v", n, err)
	}
	if count(a) != 0 || count(b) != 2 {
		t.Errorf("%d and %d rows left", count(a), count(b))
	}
}

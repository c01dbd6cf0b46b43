package repo_test

import (
	"database/sql"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

func TestFind(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		_, err := r.Find(e.ctx, 1)
		e.is(err, model.ErrNotFound)
		e.is(err, sql.ErrNoRows)
		p := must(r.Insert(e.ctx, product{SKU: "A'1\\", Category: 5, Name: "Anvil"}))
		for name, find := range map[string]func() (product, error){
			"Find":      func() (product, error) { return r.Find(e.ctx, p.ID) },
			"FindBy":    func() (product, error) { return r.FindBy(e.ctx, bySKU.Eq("A'1\\")) },
			"FindBy id": func() (product, error) { return r.FindBy(e.ctx, products.Row(p.ID)) },
		} {
			if got, err := find(); err != nil || !reflect.DeepEqual(got, p) {
				e.Errorf("%s: %+v, %v", name, got, err)
			}
		}
		if n, err := r.Count(e.ctx, byCategory.Eq(5)); n != 1 || err != nil {
			e.Errorf("count: %d %v", n, err)
		}
		_, err = r.FindBy(e.ctx, bySKU.Eq(strings.Repeat("x", 10_000)))
		e.is(err, model.ErrNotFound)
		_, err = r.FindBy(e.ctx, model.One[product]{})
		e.is(err, nil, "repo: shop.products", "empty reference")
	})
}

// What no text of the database can hold is the server's error, with the column it was for; nothing is "not found".
func TestTextThatCannotBeStored(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		for _, bad := range []string{"a\x00b", "a\xffb"} {
			_, err := r.FindBy(e.ctx, bySKU.Eq(bad))
			e.is(err, nil, "repo: shop.products: find sku=")
			if errors.Is(err, model.ErrNotFound) {
				e.Error("reported as not found")
			}
			_, err = r.Insert(e.ctx, product{SKU: bad, Category: 5, Name: "x"})
			e.is(err, nil, "repo: shop.products: insert")
		}
		e.changed()
	})
}

func TestReferencesOfOtherTables(t *testing.T) {
	archiveSKU := model.NewUnique[product, string]("sku")
	model.MustTable(model.Spec[product, int64]{Name: "archive", Key: "id", Indexes: model.Indexes[product]{archiveSKU}})
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		_, err := r.FindBy(e.ctx, archiveSKU.Eq("x"))
		e.is(err, nil, "repo: shop.products: the reference is to table archive")
		_, err = r.Upsert(e.ctx, product{}, archiveSKU)
		e.is(err, nil, "the reference is to table archive")
	})
}

type twin struct {
	ID    int64           `db:"id"`
	Name  string          `db:"name"`
	Owner *sql.NullString `db:"owner"`
}

func TestUniqueThatIsNone(t *testing.T) {
	byName := model.NewUnique[twin, string]("name")
	twins := model.MustTable(model.Spec[twin, int64]{Name: "twins", Key: "id", Indexes: model.Indexes[twin]{byName}})
	onBoth(t, func(e *env) {
		e.exec("CREATE TABLE twins (id int, name text, owner text)")
		e.exec("INSERT INTO twins VALUES (1, 'a'), (2, 'a'), (2, 'b')")
		r := repo.New(e.db, twins)
		_, err := r.FindBy(e.ctx, byName.Eq("a"))
		e.is(err, nil, "repo: twins: find name=a: there are two rows")
		_, err = r.Find(e.ctx, 2)
		e.is(err, nil, "there are two rows")
		_, err = r.Modify(e.ctx, 2, func(*twin) error { return nil })
		e.is(err, nil, "there are two rows")
		e.is(r.Delete(e.ctx, 2), nil, "there are two rows")
		if n := must(r.Where(e.ctx, "TRUE")); len(n) != 3 {
			e.Errorf("%d rows are left", len(n))
		}
	})
}

func TestNullFindsNothing(t *testing.T) {
	byOwner := model.NewUnique[owned, nullable]("owner")
	byOwners := model.NewIndex[owned, nullable]("owner_id")
	ownedBy := model.MustTable(model.Spec[owned, int64]{Name: "nowhere", Key: "id", Indexes: model.Indexes[owned]{byOwner, byOwners}})
	onBoth(t, func(e *env) { // the table does not exist, so SQL would fail
		r := repo.New(e.db, ownedBy)
		_, err := r.FindBy(e.ctx, byOwner.Eq(nullable{}))
		e.is(err, model.ErrNotFound)
		if n, err := r.Count(e.ctx, byOwners.Eq(nullable{})); n != 0 || err != nil {
			e.Errorf("%d %v", n, err)
		}
		if l, err := r.ListBy(e.ctx, byOwners.Eq(nullable{}), repo.Page{}); len(l.Items) != 0 || err != nil {
			e.Errorf("%v %v", l, err)
		}
	})
}

type nullable struct{ sql.NullString }

type owned struct {
	ID    int64    `db:"id"`
	Owner nullable `db:"owner"`
	Other nullable `db:"owner_id"`
}

package repo_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

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

func TestFindMany(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, things)
		for _, keys := range [][]uuid.UUID{nil, {}} {
			if got, err := r.FindMany(e.ctx, keys); err != nil || len(got) != 0 {
				e.Errorf("no keys: %v %v", got, err)
			}
		}
		recs := make([]thing, 30)
		for i := range recs {
			recs[i] = thing{ID: uuid.New(), Tags: pq.StringArray{fmt.Sprint(i)}, Amount: "0"}
		}
		recs = must(r.InsertMany(e.ctx, recs))
		var keys []uuid.UUID
		var want []thing
		for i := range 25_000 {
			keys = append(keys, uuid.New())
			if i%1000 == 0 {
				rec := recs[29-i/1000]
				keys, want = append(keys, rec.ID, rec.ID), append(want, rec, rec)
			}
		}
		got, err := r.FindMany(e.ctx, keys)
		e.ok(err)
		if !reflect.DeepEqual(got, want) {
			e.Fatalf("%d rows, want %d", len(got), len(want))
		}
		got[0].Tags[0] = "mine"
		if got[1].Tags[0] == "mine" {
			e.Error("the two rows of one key share memory")
		}
	})
}

func TestFindManyCompositeAndNames(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, members)
		var keys []memberKey
		var want []member
		for i := range 1200 {
			m := member{memberKey{int64(i%3 + 1), fmt.Sprintf("u,\"%d", i)}, "r"}
			keys = append(keys, m.memberKey, memberKey{99, m.User})
			want = append(want, m)
		}
		must(r.InsertMany(e.ctx, want))
		for i := range 33_000 { // of two columns each: more than one statement has parameters
			keys = append(keys, memberKey{-1, fmt.Sprint(i)})
		}
		got, err := r.FindMany(e.ctx, keys)
		e.ok(err)
		if !reflect.DeepEqual(got, want) {
			e.Errorf("%d rows, want %d", len(got), len(want))
		}
	})
}

type code struct {
	Code string `db:"code"`
	Text string `db:"text"`
}

type mail struct {
	Address string `db:"address"`
	Owner   string `db:"owner"`
}

// Hazard: SQL calls values equal that Go does not. Such a row must not be reported absent.
func TestFindManyWithWiderEquality(t *testing.T) {
	codes := model.MustTable(model.Spec[code, string]{Name: "codes", Key: "code"})
	mails := model.MustTable(model.Spec[mail, string]{Name: "mails", Key: "address"})
	onBoth(t, func(e *env) {
		e.exec("INSERT INTO codes VALUES ('ab', 'padded'), ('cd', 'too')")
		e.exec("INSERT INTO mails VALUES ('Foo@x', 'foo'), ('bar@x', 'bar')")
		got, err := repo.New(e.db, codes).FindMany(e.ctx, []string{"cd", "zz", "ab"})
		e.ok(err)
		if len(got) != 2 || got[0].Text != "too" || got[1].Text != "padded" {
			e.Errorf("char(5): %+v", got)
		}
		r := repo.New(e.db, mails)
		rows, err := r.FindMany(e.ctx, []string{"foo@x", "none@x", "bar@x", "Foo@x"})
		e.ok(err)
		if len(rows) != 3 || rows[0].Owner != "foo" || rows[1].Owner != "bar" || rows[2].Owner != "foo" {
			e.Errorf("collation: %+v", rows)
		}
	})
}

func TestTypesSurviveTheRoundTrip(t *testing.T) {
	onEach(t, []string{"pq", "pgx", "pq binary"}, func(e *env) {
		r := repo.New(e.db, things)
		ref := uuid.New()
		seen := time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.FixedZone("x", -5*3600))
		full := thing{
			ID: uuid.New(), Ref: &ref, Tags: pq.StringArray{"a,b", `"c"`, "", "NULL"}, Nums: pq.Int64Array{1, -2},
			Doc: json.RawMessage(`{"a": [1, null]}`), Raw: []byte{0, 1, 255}, Mood: sql.NullString{String: "happy", Valid: true},
			Size: 0.1, OnSale: true, Seen: &seen, Local: sql.NullTime{Time: seen, Valid: true}, Small: -7, Amount: "12345678901234.5000",
		}
		empty := thing{Amount: "0.0000", Raw: []byte{}}
		for _, rec := range []thing{full, empty} {
			got, err := r.Insert(e.ctx, rec)
			e.ok(err)
			if got.ID == uuid.Nil {
				e.Error("no key was assigned")
			}
			if rec.ID == uuid.Nil {
				rec.ID = got.ID
				rec.Tags = pq.StringArray{}
			}
			if rec.Seen != nil {
				utc := seen.UTC()
				rec.Seen, rec.Local.Time = &utc, utc
			}
			if !reflect.DeepEqual(got, rec) {
				e.Errorf("stored\n %+v\nwant\n %+v", got, rec)
			}
			again, err := r.Modify(e.ctx, got.ID, func(*thing) error { return nil })
			if err != nil || !reflect.DeepEqual(again, rec) {
				e.Errorf("read\n %+v, %v", again, err)
			}
			again, err = r.Modify(e.ctx, got.ID, func(rec *thing) error {
				rec.Tags, rec.Doc = append(rec.Tags, "more"), json.RawMessage(`[]`)
				return nil
			})
			if err != nil || len(again.Tags) != len(rec.Tags)+1 || string(again.Doc) != "[]" {
				e.Errorf("modified\n %+v, %v", again, err)
			}
			if rec.Ref != nil {
				found, err := r.FindBy(e.ctx, byRef.Eq(*rec.Ref))
				if err != nil || found.ID != rec.ID {
					e.Errorf("by uuid: %v %v", found, err)
				}
			}
		}
	})
}

type quoted struct {
	Group int64  `db:"group"`
	User  string `db:"User"`
	Order string `db:"order"`
}

// Names are quoted, and a key that PostgreSQL alone may assign is left to it.
func TestNamesAndIdentity(t *testing.T) {
	byUser := model.NewUnique[quoted, string]("User")
	byOrder := model.NewIndex[quoted, string]("order").OrderBy("User DESC")
	tables := model.MustTable(model.Spec[quoted, int64]{
		Name: "Select", Key: "group", Indexes: model.Indexes[quoted]{byUser, byOrder},
	})
	onBoth(t, func(e *env) {
		e.exec(`CREATE TABLE "Select" ("group" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "User" text UNIQUE, "order" text)`)
		r := repo.New(e.db, tables)
		s, err := r.Insert(e.ctx, quoted{User: "u", Order: "o"})
		e.ok(err)
		_, err = r.Upsert(e.ctx, quoted{User: "u", Order: "p"}, byUser)
		e.ok(err)
		_, err = r.Modify(e.ctx, s.Group, func(s *quoted) error { s.Order = "q"; return nil })
		e.ok(err)
		n, err := r.UpdateWhere(e.ctx, repo.Bulk{Set: `"order" = 'r'`, Where: `"Select"."User" = 'u'`})
		e.ok(err)
		list, err := r.ListBy(e.ctx, byOrder.Eq("r"), repo.Page{})
		if err != nil || n != 1 || len(list.Items) != 1 {
			e.Errorf("%d %+v %v", n, list, err)
		}
		_, err = r.Insert(e.ctx, quoted{User: "u"})
		e.is(err, model.ErrDuplicate, "Select.User=u: duplicate")
		e.ok(r.Delete(e.ctx, s.Group))
	})
}

func TestRowsThatDoNotFit(t *testing.T) {
	type wide struct {
		ID   int64  `db:"id"`
		Note string `db:"note"`
		Big  int8   `db:"big"`
	}
	type missing struct {
		ID   int64  `db:"id"`
		Gone string `db:"gone"`
	}
	wides := model.MustTable(model.Spec[wide, int64]{Name: "wides", Key: "id"})
	missings := model.MustTable(model.Spec[missing, int64]{Name: "wides", Key: "id"})
	onBoth(t, func(e *env) {
		e.exec("CREATE TABLE wides (id bigint PRIMARY KEY, note text, big int)")
		e.exec("INSERT INTO wides VALUES (1, NULL, 1), (2, '', 1000)")
		r := repo.New(e.db, wides)
		_, err := r.Find(e.ctx, 1)
		e.is(err, nil, "repo: wides: find id=1: column note does not fit field wide.Note (string)", "NULL")
		_, err = r.Find(e.ctx, 2)
		e.is(err, nil, "column big does not fit field wide.Big (int8)", "1000")
		_, err = repo.New(e.db, missings).Find(e.ctx, 1)
		e.is(err, nil, "repo: wides: find id=1", `column "gone" does not exist`)
	})
}

func TestWhereAndAll(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		recs := make([]product, 1700)
		for i := range recs {
			recs[i] = product{SKU: fmt.Sprint(i), Category: int64(i % 2), Name: "n"}
		}
		must(r.InsertMany(e.ctx, recs))
		e.exec("UPDATE shop.products SET deleted_at = now() WHERE id = 1000")
		got, err := r.Where(e.ctx, "products.id < $1 OR id = 1000 ORDER BY id DESC LIMIT 3", 1001)
		e.ok(err)
		if len(got) != 3 || got[0].ID != 999 {
			e.Errorf("%+v", got)
		}
		_, err = r.Where(e.ctx, "id <")
		e.is(err, nil, "repo: shop.products: select where id <")
		var ids []int64
		for p, err := range r.All(e.ctx) {
			e.ok(err)
			ids = append(ids, p.ID)
		}
		if len(ids) != 1699 || ids[998] != 999 || ids[999] != 1001 {
			e.Errorf("%d rows", len(ids))
		}
		// A loop that is left, with one connection: the next statement would wait for ever if All held it.
		e.conn.SetMaxOpenConns(1)
		for p, err := range r.All(e.ctx) {
			e.ok(err)
			if _, err := r.Find(e.ctx, p.ID); err != nil {
				e.Error(err)
			}
			if p.ID == 700 {
				break
			}
		}
		ctx, cancel := context.WithCancel(e.ctx)
		defer cancel()
		last, n := error(nil), 0
		for _, err := range r.All(ctx) {
			if n++; n == 500 {
				cancel()
			}
			last = err
		}
		e.is(last, context.Canceled, "repo: shop.products: select all")
		if n != 501 {
			e.Errorf("%d rows", n)
		}
	})
}

func TestCancelledReads(t *testing.T) {
	onBoth(t, func(e *env) {
		r := repo.New(e.db, products)
		must(r.Insert(e.ctx, product{SKU: "a", Category: 5, Name: "a"}))
		ctx, cancel := context.WithTimeout(e.ctx, 50*time.Millisecond)
		defer cancel()
		_, err := r.Where(ctx, "pg_sleep(5) IS NULL")
		e.is(err, context.DeadlineExceeded, "repo: shop.products: select where")
	})
}

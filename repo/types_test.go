package repo_test

import (
	"database/sql"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

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

package repo_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

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

package model

import (
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

type user struct {
	ID    int64          `db:"id"`
	Email string         `db:"email"`
	Team  sql.NullInt64  `db:"team_id"`
	Ref   *uuid.UUID     `db:"ref"`
	Note  sql.NullString `db:"note"`
	Made  time.Time      `db:"made,default"`
	audit
	Cache string `db:"-"`
}

type audit struct {
	Seen *time.Time `db:"seen"`
}

type memberKey struct {
	Team int64 `db:"team_id"`
	User int64 `db:"user_id"`
}

type member struct {
	memberKey
	Role string `db:"role"`
}

func TestTableDescribesRecord(t *testing.T) {
	byEmail, byTeam := NewUnique[user, string]("email"), NewIndex[user, int64]("team_id").OrderBy("made DESC")
	byRef := NewUnique[user, uuid.UUID]("ref")
	users := MustTable(Spec[user, int64]{Name: "users", Key: "id", Indexes: Indexes[user]{byEmail, byTeam, byRef}})
	rel := users.Relation()
	if len(rel.Columns) != 7 || rel.Columns[6].Name != "seen" || !rel.Columns[5].Default {
		t.Fatalf("columns: %+v", rel.Columns)
	}
	if rel.Immutable {
		t.Error("a record with a pointer is not immutable")
	}
	now := time.Now()
	ref := uuid.New()
	u := user{ID: 7, Email: "a", Team: sql.NullInt64{Int64: 3, Valid: true}, Ref: &ref, Made: now, audit: audit{Seen: &now}}
	rel.Normalize(&u)
	if u.Made.Location() != time.UTC || u.Seen.Location() != time.UTC {
		t.Error("times were not moved to UTC")
	}
	img, err := rel.Image(&u)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		access *Access
		value  any
	}{{rel.Key, int64(7)}, {byEmail.Access(), "a"}, {byTeam.Access(), int64(3)}, {byRef.Access(), ref}} {
		asked, err := c.access.Place(c.value).Data(nil)
		if err != nil {
			t.Fatal(err)
		}
		of, err := c.access.Of(nil, &u)
		if err != nil {
			t.Fatal(err)
		}
		if image := c.access.OfImage(nil, img); asked[0] != of[0] || of[0] != image[0] {
			t.Errorf("%s: asked %v, record %v, image %v", c.access.Name, asked, of, image)
		}
	}
	if got := byTeam.Access().Order; len(got) != 2 || !got[0].Desc || got[1].Column != 0 {
		t.Errorf("order: %+v", got)
	}
}

func TestCompositeKey(t *testing.T) {
	members := MustTable(Spec[member, memberKey]{Name: "members"})
	at := members.Row(memberKey{7, 42}).Place()
	data, err := at.Data(nil)
	if err != nil || len(data) != 2 || data[1].Int != 42 {
		t.Fatalf("%v, %v", data, err)
	}
	if err := NotFound(at); err.Error() != "members.team_id,user_id=(7,42): not found" {
		t.Errorf("error: %s", err)
	}
	if !members.Relation().Immutable {
		t.Error("a record of integers and strings is immutable")
	}
}

func TestErrorMatches(t *testing.T) {
	err := error(&Error{Kind: ErrNotFound, Table: "products", Index: "sku", Value: "A-1"})
	if err.Error() != "products.sku=A-1: not found" {
		t.Errorf("text: %s", err)
	}
	if !errors.Is(err, ErrNotFound) || !errors.Is(err, sql.ErrNoRows) || errors.Is(err, ErrConflict) {
		t.Error("not-found must match ErrNotFound and sql.ErrNoRows only")
	}
}

// Each mistake is refused with table, field and reason.
func TestTableRefuses(t *testing.T) {
	type noTag struct {
		ID   int64 `db:"id"`
		Name string
	}
	type private struct {
		ID   int64  `db:"id"`
		name string `db:"name"` //nolint:all // the mistake under test
	}
	type twice struct {
		ID int64 `db:"id"`
		X  int64 `db:"id"`
	}
	type mapped struct {
		ID int64          `db:"id"`
		M  map[string]int `db:"m"`
	}
	type anything struct {
		ID int64 `db:"id"`
		V  any   `db:"v"`
	}
	type float struct {
		ID float64   `db:"id"`
		At time.Time `db:"at"`
	}
	_ = private{name: ""}
	refuse := func(want string, err error) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
	_, err := NewTable(Spec[user, string]{Name: "users", Key: "id"})
	refuse("model: users: key id is int64 in user, K is string", err)
	_, err = NewTable(Spec[user, int64]{Name: "users", Key: "id", Indexes: Indexes[user]{NewIndex[user, int64]("team_ref")}})
	refuse(`model: users: index team_ref: no field of user has db tag "team_ref"`, err)
	_, err = NewTable(Spec[user, int64]{Name: "users", Key: "id", Indexes: Indexes[user]{NewUnique[user, *int64]("team_id")}})
	refuse("index team_id is int64 in user, V is *int64", err)
	_, err = NewTable(Spec[user, int64]{Name: "users", Key: "id", Indexes: Indexes[user]{NewIndex[user, int64]("team_id").OrderBy("note")}})
	refuse("may be NULL", err)
	_, err = NewTable(Spec[user, int64]{Name: "users; DROP", Key: "id"})
	refuse("is not the name of a table", err)
	_, err = NewTable(Spec[user, int64]{Name: "users"})
	refuse("key: name its column", err)
	_, err = NewTable(Spec[user, int64]{Name: "users", Key: "id", Version: "email"})
	refuse("version email is string in user, not an integer", err)
	_, err = NewTable(Spec[user, int64]{Name: "users", Key: "id", Indexes: Indexes[user]{nil}})
	refuse("an index is nil", err)
	_, err = NewTable(Spec[user, *int64]{Name: "users", Key: "team_id"})
	refuse("K is *int64", err)
	_, err = NewTable(Spec[noTag, int64]{Name: "t", Key: "id"})
	refuse("noTag.Name has no db tag", err)
	_, err = NewTable(Spec[private, int64]{Name: "t", Key: "id"})
	refuse("private.name is not exported", err)
	_, err = NewTable(Spec[twice, int64]{Name: "t", Key: "id"})
	refuse(`two fields of twice have db tag "id"`, err)
	_, err = NewTable(Spec[mapped, int64]{Name: "t", Key: "id"})
	refuse("mapped.M: map[string]int cannot be scanned", err)
	_, err = NewTable(Spec[anything, int64]{Name: "t", Key: "id"})
	refuse("an interface does not say what it holds", err)
	_, err = NewTable(Spec[float, float64]{Name: "t", Key: "id"})
	refuse("a float cannot be a key", err)
	_, err = NewTable(Spec[float, time.Time]{Name: "t", Key: "at"})
	refuse("a time cannot be a key", err)
	shared := NewUnique[user, string]("email")
	MustTable(Spec[user, int64]{Name: "users", Key: "id", Indexes: Indexes[user]{shared}})
	_, err = NewTable(Spec[user, int64]{Name: "others", Key: "id", Indexes: Indexes[user]{shared}})
	refuse("already belongs to table users", err)
}

func TestValuesThatNoColumnHolds(t *testing.T) {
	if _, err := DatumOf(uint64(1 << 63)); err == nil {
		t.Error("an integer over bigint was accepted")
	}
	if d, err := DatumOf((*uuid.UUID)(nil)); err != nil || d.Kind != Null {
		t.Errorf("a nil pointer to a Valuer is NULL: %v %v", d, err)
	}
	if d, err := DatumOf(uuid.Nil); err != nil || d.Kind != Text {
		t.Errorf("uuid: %v %v", d, err)
	}
	if err := (Place{}).Check(); err == nil {
		t.Error("an empty ref was accepted")
	}
	if err := NewUnique[user, string]("email").Eq("a").Place().Check(); err == nil {
		t.Error("a ref of an index without table was accepted")
	}
}

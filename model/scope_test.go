package model

import (
	"database/sql"
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"
)

type page struct {
	Tenant uuid.UUID      `db:"tenant"`
	ID     int64          `db:"id"`
	Email  string         `db:"email,sensitive"`
	Alias  sql.NullString `db:"alias"`
	Site   *int64         `db:"site"`
	Total  int64          `db:"total,readonly"`
	Hash   string         `db:"hash,nocache"`
}

func TestScopeAndCanonical(t *testing.T) {
	byEmail, byAlias := NewUnique[page, string]("email"), NewUnique[page, string]("alias")
	lower := map[string]func(string) string{"email": strings.ToLower, "alias": strings.ToLower}
	rel := MustTable(Spec[page, int64]{
		Name: "pages", Key: "id", Scope: "tenant", Canonical: lower, Indexes: Indexes[page]{byEmail, byAlias},
	}).Relation()
	tenant := uuid.New()
	rec := page{ID: 1, Email: "A@x", Alias: sql.NullString{String: "Al", Valid: true}}
	d, err := rel.ScopeDatum(tenant)
	if err != nil || rel.PutScope(&rec, d) != nil || rec.Tenant != tenant {
		t.Fatal(rec, err)
	}
	if err := rel.PutScope(&rec, d); err != nil {
		t.Error(err)
	}
	other, _ := rel.ScopeDatum(uuid.New())
	if err := rel.PutScope(&rec, other); err == nil {
		t.Error("a record was given to another tenant")
	}
	image, err := rel.Image(&rec)
	if err != nil || rel.ScopeOfImage(image) != d {
		t.Errorf("%v, %v", image, err)
	}
	for _, u := range []*Unique[page, string]{byEmail, byAlias} {
		of, err := u.Access().Of(nil, &rec)
		if err != nil {
			t.Fatal(err)
		}
		asked, _ := u.Eq(strings.ToUpper(of[0].Text)).Place().Data(nil)
		if in := u.Access().OfImage(nil, image); of[0] != asked[0] || of[0] != in[0] || of[0].Text != strings.ToLower(of[0].Text) {
			t.Errorf("record %v, asked %v, image %v", of, asked, in)
		}
	}
	if got := byEmail.Eq("A@x").Place().String(); got != "***" || strings.Contains(NotFound(byEmail.Eq("a@x").Place()).Error(), "a@x") {
		t.Errorf("a sensitive value is printed: %s", got)
	}
	if _, err := rel.ScopeDatum(nil); !errors.Is(err, ErrNoScope) {
		t.Error(err)
	}
	if _, err := rel.ScopeDatum(7); err == nil || errors.Is(err, ErrNoScope) || !strings.Contains(err.Error(), "uuid.UUID") {
		t.Error(err)
	}
}

func TestScopeAndCanonicalRefused(t *testing.T) {
	for want, spec := range map[string]Spec[page, int64]{
		`scope firm: no field of page has db tag "firm"`:               {Scope: "firm"},
		"scope site is *int64 in page: a scope cannot be NULL":         {Scope: "site"},
		"scope total is read-only":                                     {Scope: "total"},
		`canonical firm: no field of page has db tag "firm"`:           {Canonical: map[string]func(string) string{"firm": strings.ToLower}},
		"canonical email is nil":                                       {Canonical: map[string]func(string) string{"email": nil}},
		"canonical id: the column is int64":                            {Canonical: map[string]func(string) string{"id": strings.ToLower}},
		"canonical email: the column belongs to neither key nor index": {Canonical: map[string]func(string) string{"email": strings.ToLower}},
	} {
		spec.Name, spec.Key = "pages", "id"
		if _, err := NewTable(spec); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

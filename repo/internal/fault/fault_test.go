package fault

import (
	"context"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/asidego/aside/model"
)

type row struct {
	ID   int64  `db:"id"`
	Name string `db:"name"`
}

var (
	byName = model.NewUnique[row, string]("name")
	rows   = model.MustTable(model.Spec[row, int64]{Name: "rows", Key: "id", Indexes: model.Indexes[row]{byName}})
)

func TestWrap(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	canceled := errors.New("canceling statement due to user request")
	if err := Wrap(ctx, rows.Relation(), "find", "id=1", canceled); err.Error() != "repo: rows: find id=1: "+canceled.Error() {
		t.Errorf("%v", err)
	}
	// lib/pq reports a cancelled statement in the server's words.
	cancel()
	err := Wrap(ctx, rows.Relation(), "find", "", canceled)
	if !errors.Is(err, context.Canceled) || !errors.Is(err, canceled) {
		t.Errorf("%v", err)
	}
	known := At(model.ErrDuplicate, byName.Access(), []model.Datum{{Kind: model.Text, Text: "a"}})
	if err := Wrap(ctx, rows.Relation(), "insert", "id=1", known); err != error(known) || err.Error() != "rows.name=a: duplicate" {
		t.Errorf("%v", err)
	}
	if err := Wrap(ctx, rows.Relation(), "find", "", nil); err != nil {
		t.Errorf("%v", err)
	}
}

func TestShortenKeepsCharactersWhole(t *testing.T) {
	for _, s := range []string{"", "short", strings.Repeat("x", 64), strings.Repeat("x", 65), strings.Repeat("é", 100), "a" + strings.Repeat("世", 50), strings.Repeat("\xff", 90)} {
		got := Shorten(s)
		if len(got) > 64 || !utf8.ValidString(got) || (len(s) <= 64 && utf8.ValidString(s) && got != s) {
			t.Errorf("%q became %q", s, got)
		}
	}
}

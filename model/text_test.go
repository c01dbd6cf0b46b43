package model

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"
)

// level scans integers alone, as a generated enum does.
type level int16

func (l *level) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return errors.New("not an integer")
	}
	*l = level(n)
	return nil
}

func (l level) Value() (driver.Value, error) { return int64(l), nil }

// digest scans bytes alone.
type digest [4]byte

func (d *digest) Scan(v any) error {
	b, ok := v.([]byte)
	if !ok || len(b) != len(d) {
		return errors.New("not four bytes")
	}
	copy(d[:], b)
	return nil
}

func (d digest) Value() (driver.Value, error) { return d[:], nil }

type tone string

type exhibit struct {
	ID     int64            `db:"id"`
	Small  uint16           `db:"small"`
	Code   tone             `db:"code"`
	Ref    uuid.UUID        `db:"ref"`
	Other  *uuid.UUID       `db:"other"`
	Shown  bool             `db:"shown"`
	Hash   []byte           `db:"hash"`
	Digest digest           `db:"digest"`
	Level  level            `db:"level"`
	Team   sql.NullInt64    `db:"team"`
	Title  sql.NullString   `db:"title"`
	Sold   sql.Null[bool]   `db:"sold"`
	Raw    sql.Null[[]byte] `db:"raw"`
	Nick   *string          `db:"nick"`
}

var exhibits = MustTable(Spec[exhibit, int64]{Name: "exhibits", Key: "id", Indexes: Indexes[exhibit]{
	NewIndex[exhibit, uint16]("small"), NewIndex[exhibit, tone]("code"), NewIndex[exhibit, uuid.UUID]("ref"),
	NewIndex[exhibit, uuid.UUID]("other"), NewIndex[exhibit, bool]("shown"), NewIndex[exhibit, []byte]("hash"),
	NewIndex[exhibit, digest]("digest"), NewIndex[exhibit, level]("level"), NewIndex[exhibit, int64]("team"),
	NewIndex[exhibit, string]("title"), NewIndex[exhibit, bool]("sold"), NewIndex[exhibit, []byte]("raw"),
	NewIndex[exhibit, string]("nick"),
}}).Relation()

// An image that is written down as texts and read again is the same image, whatever the types of the fields.
func TestImageOfTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[\x01-\x{FFFF}]{0,9}|\\x[0-9a-f]{0,4}|true|-7`)
		e := exhibit{
			ID: rapid.Int64().Draw(t, "id"), Small: rapid.Uint16().Draw(t, "small"), Code: tone(text.Draw(t, "code")),
			Ref: uuid.UUID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "ref")), Shown: rapid.Bool().Draw(t, "shown"),
			Digest: digest(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "digest")), Level: level(rapid.Int16().Draw(t, "level")),
			Hash: rapid.SliceOf(rapid.Byte()).Draw(t, "hash"),
		}
		if rapid.Bool().Draw(t, "all") {
			s := text.Draw(t, "nick")
			e.Other, e.Nick = &e.Ref, &s
			e.Team = sql.NullInt64{Int64: rapid.Int64().Draw(t, "team"), Valid: true}
			e.Title = sql.NullString{String: text.Draw(t, "title"), Valid: true}
			e.Sold = sql.Null[bool]{V: rapid.Bool().Draw(t, "sold"), Valid: true}
			e.Raw = sql.Null[[]byte]{V: rapid.SliceOf(rapid.Byte()).Draw(t, "raw"), Valid: true}
		}
		want, err := exhibits.Image(&e)
		if err != nil {
			t.Fatal(err)
		}
		columns, texts := []string{"unknown"}, []*string{nil}
		for i, name := range exhibits.ImageColumns() {
			columns = append(columns, name)
			if s, null := want[i].SQLText(); null {
				texts = append(texts, nil)
			} else {
				texts = append(texts, &s)
			}
		}
		got, missing, err := exhibits.ImageOfTexts(columns, texts)
		if err != nil || len(missing) > 0 || !slices.Equal(got, want) {
			t.Fatalf("%v, missing %v, %v\nwant %v", got, missing, err, want)
		}
	})
}

func TestImageOfTextsTellsWhatIsMissing(t *testing.T) {
	id := "7"
	img, missing, err := exhibits.ImageOfTexts([]string{"id"}, []*string{&id})
	if err != nil || img[0] != (Datum{Kind: Int, Int: 7}) || len(missing) != len(exhibits.Images)-1 || slices.Contains(missing, "id") {
		t.Errorf("%v, %v, %v", img, missing, err)
	}
	for _, bad := range []string{"", "x", strconv.FormatUint(1<<63, 10)} {
		if _, _, err := exhibits.ImageOfTexts([]string{"id"}, []*string{&bad}); err == nil || !strings.Contains(err.Error(), "exhibits: column id") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

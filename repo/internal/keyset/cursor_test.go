package keyset

import (
	"database/sql/driver"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
)

type row struct {
	ID    int64     `db:"id"`
	Group string    `db:"grp"`
	Other string    `db:"other"`
	Made  time.Time `db:"made"`
	Size  float64   `db:"size"`
	Raw   []byte    `db:"raw"`
	On    bool      `db:"is_on"`
	Name  string    `db:"name"`
}

var (
	byGroup = model.NewIndex[row, string]("grp").OrderBy("made DESC", "size", "is_on", "name")
	byOther = model.NewIndex[row, string]("other").OrderBy("made DESC", "size", "is_on", "name")
	byOrder = model.NewIndex[row, int64]("id").OrderBy("made", "size", "is_on", "name")
	upwards = model.NewIndex[row, string]("grp").OrderBy("made", "size", "is_on", "name")
	_       = model.MustTable(model.Spec[row, int64]{Name: "t", Key: "id", Indexes: model.Indexes[row]{byGroup, byOther}})
	_       = model.MustTable(model.Spec[row, int64]{Name: "t", Key: "id", Indexes: model.Indexes[row]{upwards}})
	_       = model.MustTable(model.Spec[row, string]{Name: "t", Key: "grp", Indexes: model.Indexes[row]{byOrder}})
)

func position(made time.Time, size float64, on bool, name string, id int64) []driver.Value {
	return []driver.Value{made, size, on, name, id}
}

func TestCursorRoundTrip(t *testing.T) {
	list := byGroup.Eq("a").Place()
	for _, want := range [][]driver.Value{
		position(time.Unix(1700000000, 123456000).UTC(), 0.1, true, "a\x00\xff", 1),
		position(time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), math.Inf(-1), false, "", math.MinInt64),
		position(time.Date(294276, 12, 31, 0, 0, 0, 0, time.UTC), math.Copysign(0, -1), false, strings.Repeat("x", 10_000), math.MaxInt64),
	} {
		s, err := Encode(list, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Decode(s, list)
		if err != nil {
			t.Fatal(err)
		}
		for i := range want {
			if !column.Equal(got[i], want[i]) {
				t.Errorf("%v became %v", want[i], got[i])
			}
		}
	}
	if _, err := Encode(list, []driver.Value{nil}); err == nil || !strings.Contains(err.Error(), "column made cannot order pages: it is NULL") {
		t.Errorf("NULL: %v", err)
	}
}

// A cursor is good for one list alone: this index, order and value.
func TestCursorOfAnotherList(t *testing.T) {
	list := byGroup.Eq("a").Place()
	s, err := Encode(list, position(time.Unix(0, 0), 1, true, "", 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []model.Place{byGroup.Eq("b").Place(), byOther.Eq("a").Place(), upwards.Eq("a").Place(), byOrder.Eq(1).Place()} {
		if _, err := Decode(s, other); !errors.Is(err, ErrCursor) || !strings.Contains(err.Error(), "another index, order or value") {
			t.Errorf("%v: %v", other, err)
		}
	}
}

// Every byte of a cursor is protected.
func TestDamagedCursor(t *testing.T) {
	list := byGroup.Eq("a").Place()
	s, err := Encode(list, position(time.Unix(0, 0), 1, true, "name", 1))
	if err != nil {
		t.Fatal(err)
	}
	for i := range s {
		for _, c := range []string{"", "A", "B", "-", "*", "AA"} {
			bad := s[:i] + c + s[i+1:]
			if bad == s {
				continue
			}
			if _, err := Decode(bad, list); !errors.Is(err, ErrCursor) {
				t.Fatalf("%q instead of byte %d was accepted: %v", c, i, err)
			}
		}
	}
	raw, err := encoding.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	raw[0] = 2
	if _, err := Decode(sealed(raw[:len(raw)-trailer]), list); !errors.Is(err, ErrCursor) || !strings.Contains(err.Error(), "version is 2") {
		t.Errorf("version: %v", err)
	}
}

// sealed is a cursor with a right checksum, as a client could forge.
func sealed(body []byte) string {
	return encoding.EncodeToString(appendSum(body))
}

func FuzzDecode(f *testing.F) {
	list := byGroup.Eq("a").Place()
	s, err := Encode(list, position(time.Unix(1, 1000), 1, true, "name", 1))
	if err != nil {
		f.Fatal(err)
	}
	raw, err := encoding.DecodeString(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(s, raw[header:len(raw)-trailer])
	f.Add("", []byte{kindText, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, cursor string, values []byte) {
		if _, err := Decode(cursor, list); err != nil && !errors.Is(err, ErrCursor) {
			t.Errorf("error of another kind: %v", err)
		}
		got, err := Decode(sealed(append(raw[:header:header], values...)), list)
		if err != nil {
			if !errors.Is(err, ErrCursor) {
				t.Errorf("error of another kind: %v", err)
			}
			return
		}
		again, err := Encode(list, got)
		if err != nil {
			t.Fatal(err)
		}
		same, err := Decode(again, list)
		if err != nil {
			t.Fatal(err)
		}
		for i := range got {
			a, nan := got[i].(float64)
			if nan && a != a {
				continue
			}
			if !column.Equal(got[i], same[i]) {
				t.Errorf("%v became %v", got[i], same[i])
			}
		}
	})
}

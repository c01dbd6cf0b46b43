package column

import (
	"database/sql/driver"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/asidego/aside/model"
)

type kind string

// picky scans bytes only, as many a type for jsonb does, and prints itself as a string.
type picky struct{ m map[string]int }

func (p picky) Value() (driver.Value, error) {
	b, err := json.Marshal(p.m)
	return string(b), err
}

func (p *picky) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok {
		return errors.New("bytes only")
	}
	return json.Unmarshal(b, &p.m)
}

func TestValue(t *testing.T) {
	id := uuid.New()
	n := int32(7)
	for _, c := range []struct{ in, want any }{
		{int8(3), int64(3)},
		{uint16(3), int64(3)},
		{kind("k"), "k"},
		{&n, int64(7)},
		{(*int32)(nil), nil},
		{id, id.String()},
		{json.RawMessage(nil), nil},
		{json.RawMessage("1"), "1"},
		{[]byte{}, []byte{}},
		{pq.StringArray{"a"}, `{"a"}`},
		{float32(0.5), 0.5},
	} {
		got, err := Value(c.in)
		if err != nil || !Equal(got, c.want) {
			t.Errorf("%T %v: %v, %v", c.in, c.in, got, err)
		}
	}
	now := time.Now()
	if !Equal(now, now.Round(0).In(time.FixedZone("x", 60))) || Equal(now, now.Add(1)) || Equal(now, nil) {
		t.Error("times are not compared as instants")
	}
	if Equal([]byte(nil), nil) || Equal("1", int64(1)) {
		t.Error("different values are equal")
	}
}

func TestCompareOrdersAsPostgreSQL(t *testing.T) {
	now := time.Now()
	for _, sorted := range [][]driver.Value{
		{int64(-1), int64(0), int64(5), nil},
		{math.Inf(-1), -1.0, 0.0, 1.0, math.Inf(1), math.NaN(), nil},
		{false, true, nil},
		{"", "A", "a", "aa", "é", nil},
		{[]byte{}, []byte{0}, []byte{0, 1}, []byte{1}, nil},
		{now, now.Add(1), nil},
	} {
		for i, a := range sorted {
			for j, b := range sorted {
				want := 0
				if i < j {
					want = -1
				} else if i > j {
					want = 1
				}
				if got := Compare(a, b); got != want {
					t.Errorf("%v and %v: %d", a, b, got)
				}
			}
		}
	}
}

type record struct {
	ID   int64           `db:"id"`
	Raw  []byte          `db:"raw"`
	JSON json.RawMessage `db:"json"`
	Tags pq.StringArray  `db:"tags"`
	Ptr  *[]byte         `db:"ptr"`
	Own  picky           `db:"own"`
	Null *picky          `db:"nul"`
	Some *picky          `db:"some"`
	Note string          `db:"-"`
}

func TestCloneSharesNothing(t *testing.T) {
	rel := model.MustTable(model.Spec[record, int64]{Name: "t", Key: "id"}).Relation()
	raw := []byte("raw")
	a := record{1, raw, json.RawMessage("1"), pq.StringArray{"a"}, &raw, picky{map[string]int{"a": 1}}, nil, &picky{map[string]int{"a": 1}}, "n"}
	b, err := Clone(rel, &a)
	if err != nil {
		t.Fatal(err)
	}
	raw[0], a.JSON[0], a.Tags[0], a.Own.m["a"], a.Some.m["a"] = 'X', 'X', "X", 9, 9
	if string(b.Raw) != "raw" || string(b.JSON) != "1" || b.Tags[0] != "a" || string(*b.Ptr) != "raw" ||
		b.Own.m["a"] != 1 || b.Null != nil || b.Some.m["a"] != 1 || b.Note != "n" || b.ID != 1 {
		t.Errorf("%+v", b)
	}
	empty, err := Clone(rel, &record{Raw: []byte{}})
	if err != nil || empty.Raw == nil || empty.JSON != nil || empty.Tags != nil {
		t.Errorf("%+v, %v", empty, err)
	}
}

func TestLookupIsInjective(t *testing.T) {
	text := func(s string) model.Datum { return model.Datum{Kind: model.Text, Text: s} }
	n := model.Datum{Kind: model.Int, Int: 1}
	all := [][]model.Datum{
		{text("a"), text("b")},
		{text("a,"), text("b")},
		{text("a"), text(",b")},
		{text("a,31:b")},
		{text(""), text("ab")},
		{n, text("a")},
		{text("1"), text("a")},
		{n, {Kind: model.Bool, Int: 1}},
		{n, n},
		{n},
		{{Kind: model.Null}, n},
		{{Kind: model.Bytes, Text: "a"}, text("b")},
	}
	var seen []any
	for _, data := range all {
		l := Lookup(data)
		if slices.Contains(seen, l) {
			t.Errorf("%v has the lookup of another", data)
		}
		seen = append(seen, l)
	}
}

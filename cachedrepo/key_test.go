package cachedrepo

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/asidego/aside/model"
)

func num(n int64) model.Datum   { return model.Datum{Kind: model.Int, Int: n} }
func text(s string) model.Datum { return model.Datum{Kind: model.Text, Text: s} }
func raw(s string) model.Datum  { return model.Datum{Kind: model.Bytes, Text: s} }

func boolean(b bool) model.Datum {
	d, _ := model.DatumOf(b)
	return d
}

func TestKeyIsFrozen(t *testing.T) {
	type thing struct {
		ID   int64  `db:"id"`
		Org  string `db:"org:x"`
		Name string `db:"name"`
	}
	type both struct {
		Org  string `db:"org:x"`
		Name string `db:"name"`
	}
	byBoth := model.NewUnique[thing, both]()
	table := model.MustTable(model.Spec[thing, int64]{Name: "shop.things", Key: "id", Indexes: model.Indexes[thing]{byBoth}})
	key := func(a *model.Access, data ...model.Datum) string {
		return string(appendKey([]byte(keyPrefix("ns-1", a)), data))
	}
	for _, test := range []struct{ got, want string }{
		{key(table.Access(), num(-7)), "ns-1:shop.things:id:-7"},
		{key(byBoth.Access(), text("a:b"), text("")), "ns-1:shop.things:org%3Ax,name:a%3Ab:"},
		{key(table.Access(), boolean(true)), "ns-1:shop.things:id:true"},
		{key(table.Access(), raw("\x00\xff")), "ns-1:shop.things:id:00ff"},
		{key(table.Access(), text("%#{} \x00\x7f\x1f\xffé")), "ns-1:shop.things:id:%25%23%7B%7D%20%00%7F%1F\xffé"},
		{key(table.Access(), text(strings.Repeat("x", 128))), "ns-1:shop.things:id:" + strings.Repeat("x", 128)},
		{
			key(table.Access(), text(strings.Repeat("x", 129))),
			"ns-1:shop.things:id:#0ec9eb33e74510bcdd1f2ea55206e82f21649c5c2becbf2b433eb475b34c01bd",
		},
	} {
		frozen(t, "key", []byte(test.got), hexOf(test.want))
	}
}

// At the length where a value becomes a hash, and around the characters that are escaped.
func TestKeysOfNeighbours(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	values := []string{
		"", ":", "::", "%", "%3A", "%253A", "#", "a:", ":a", "a", "b", "a:b", "a%", "%00", "\x00", "\x00\x00", "0", "00", "-1", "true",
		"\xff", "\xfe", "\xc3", "é", "{a}", "a b", "a\tb", "A",
		x(longValue - 1), x(longValue), x(longValue + 1), x(longValue + 2), x(longValue-1) + ":", x(longValue-2) + ":", x(longValue-3) + ":",
		x(longValue/2 - 1), x(longValue / 2), x(longValue/2 + 1),
		strings.Repeat(":", longValue/3), strings.Repeat(":", longValue/3+1), strings.Repeat("\x00", longValue),
	}
	for _, s := range slices.Clone(values) { // whatever a hash is written as is a value, too
		values = append(values, string(appendHash(nil, s)), string(appendHash(nil, s))[1:], string(escapeText(nil, s)))
	}
	slices.Sort(values)
	values = slices.Compact(values)
	seen := map[string]string{}
	for _, s := range values {
		for what, key := range map[string][]byte{
			"text ": appendKey(nil, []model.Datum{text(s)}),
			"pair ": appendKey(nil, []model.Datum{text(s), text("")}),
			"riap ": appendKey(nil, []model.Datum{text(""), text(s)}),
		} {
			if what == "pair " && s == "" {
				continue // the same as the other way round
			}
			if other, ok := seen[string(key)]; ok {
				t.Errorf("%s%q and %q have the key %q", what, s, other, key)
			}
			seen[string(key)] = what + s
			if bytes.ContainsAny(key, "{} \t\n\x00") {
				t.Errorf("%q: key %q", s, key)
			}
			if len(key) > longValue+2 {
				t.Errorf("%q: a key of %d bytes", s, len(key))
			}
		}
	}
	seen = map[string]string{}
	for _, s := range values {
		key := string(appendKey(nil, []model.Datum{raw(s)}))
		if len(key) > longValue {
			t.Errorf("bytes %q: a key of %d bytes", s, len(key))
		}
		if other, ok := seen[key]; ok {
			t.Errorf("bytes %q and %q have the key %q", s, other, key)
		}
		seen[key] = s
	}
}

// keyed is the key of some index: its names, and the values of a row.
type keyed struct {
	table, index string
	data         []model.Datum
}

func (k keyed) bytes() []byte {
	b := append([]byte("ns:"), escapeText(nil, k.table)...)
	b = append(escapeText(append(b, ':'), k.index), ':')
	return appendKey(b, k.data)
}

// comparable tells of two keys that may meet in one store: one index has one number of columns, each of one kind.
func (k keyed) comparable(o keyed) bool {
	if k.table != o.table || k.index != o.index {
		return true
	}
	return slices.EqualFunc(k.data, o.data, func(a, b model.Datum) bool { return a.Kind == b.Kind })
}

func (k keyed) equal(o keyed) bool {
	return k.table == o.table && k.index == o.index && slices.Equal(k.data, o.data)
}

func TestKeysAreInjective(t *testing.T) {
	piece := rapid.OneOf(
		rapid.String(),
		rapid.StringOfN(rapid.RuneFrom([]rune(":%#{}\x00 a3A0")), 0, 5, -1),
		rapid.StringOfN(rapid.RuneFrom([]rune(":x")), longValue/3-2, longValue+2, -1),
		rapid.Custom(func(t *rapid.T) string { return string(rapid.SliceOfN(rapid.Byte(), 0, 80).Draw(t, "bytes")) }),
	)
	datum := func(kind model.DatumKind) *rapid.Generator[model.Datum] {
		return rapid.Custom(func(t *rapid.T) model.Datum {
			switch kind {
			case model.Int:
				return num(rapid.Int64().Draw(t, "int"))
			case model.Bool:
				return boolean(rapid.Bool().Draw(t, "bool"))
			case model.Bytes:
				return raw(piece.Draw(t, "bytes"))
			}
			return text(piece.Draw(t, "text"))
		})
	}
	rapid.Check(t, func(t *rapid.T) {
		kinds := rapid.SliceOfN(rapid.SampledFrom([]model.DatumKind{model.Int, model.Bool, model.Text, model.Text, model.Bytes}), 1, 3).Draw(t, "kinds")
		draw := func(what string) keyed {
			k := keyed{table: piece.Draw(t, what), index: piece.Draw(t, what)}
			for _, kind := range kinds {
				k.data = append(k.data, datum(kind).Draw(t, what))
			}
			return k
		}
		one, two := draw("one"), draw("two")
		if rapid.Bool().Draw(t, "same index") {
			two.table, two.index = one.table, one.index
		}
		for i := range two.data {
			if rapid.IntRange(0, 2).Draw(t, "same value") == 0 {
				two.data[i] = one.data[i]
			}
		}
		if one.equal(two) != bytes.Equal(one.bytes(), two.bytes()) {
			t.Fatalf("%+v: %q\n%+v: %q", one, one.bytes(), two, two.bytes())
		}
	})
}

// keyedFrom reads a key from fuzzed bytes: names and values, each with its length before it.
func keyedFrom(b []byte, kinds uint8) (k keyed) {
	next := func() string {
		if len(b) == 0 {
			return ""
		}
		n := min(int(b[0]), len(b)-1)
		s := string(b[1 : 1+n])
		b = b[1+n:]
		return s
	}
	k.table, k.index = next(), next()
	for range 1 + kinds&3 {
		kinds >>= 2
		s := next()
		switch kinds & 3 {
		case 0:
			var n [8]byte
			copy(n[:], s)
			k.data = append(k.data, num(int64(binary.BigEndian.Uint64(n[:]))))
		case 1:
			k.data = append(k.data, raw(s))
		default:
			k.data = append(k.data, text(s))
		}
	}
	return k
}

func FuzzKey(f *testing.F) {
	f.Add([]byte("\x01t\x01i\x02a:\x01b"), []byte("\x01t\x01i\x01a\x02:b"), uint8(0b101001))
	f.Add([]byte("\x03t:i\x00\x00"), []byte("\x01t\x01i\x00"), uint8(0b1000))
	f.Add([]byte("\x01t\x01i\x01#"), []byte("\x01t\x01i\x03%23"), uint8(0b1000))
	long := strings.Repeat("x", longValue+1)
	f.Add([]byte("\x01t\x01i\x81"+long), []byte("\x01t\x01i\x41"+string(appendHash(nil, long))), uint8(0b1000))
	f.Fuzz(func(t *testing.T, one, two []byte, kinds uint8) {
		a, b := keyedFrom(one, kinds), keyedFrom(two, kinds)
		if a.comparable(b) && a.equal(b) != bytes.Equal(a.bytes(), b.bytes()) {
			t.Fatalf("%+v: %q\n%+v: %q", a, a.bytes(), b, b.bytes())
		}
		if key := a.bytes(); bytes.ContainsAny(key, "{} \n\r\x00") || len(key) > 3*(2*256)+4*(longValue+2)+8 {
			t.Fatalf("key %q", key)
		}
	})
}

func TestNamespaces(t *testing.T) {
	for ns, good := range map[string]bool{
		"a": true, "Shop_1.b-c": true, strings.Repeat("x", 64): true,
		"": false, strings.Repeat("x", 65): false, "a:b": false, "a b": false, "{a}": false, "a\n": false, "é": false, "a%": false,
	} {
		if err := checkNamespace(ns); (err == nil) != good {
			t.Errorf("%q: %v", ns, err)
		}
	}
}

// A key is on the way of every hit: its bytes are built on the stack and copied once. (A hash for sensitive values in the
// same function once made the buffer escape, which no other test saw.)
func TestKeyIsOneAllocation(t *testing.T) {
	a := &access{prefix: "shop:products:id"}
	value := []model.Datum{num(7)}
	if n := testing.AllocsPerRun(100, func() { _ = a.key(value) }); n != 1 {
		t.Errorf("a key costs %v allocations, want 1", n)
	}
}

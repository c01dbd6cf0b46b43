package cachedrepo

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"reflect"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/asidego/aside/model"
)

// frozen compares bytes that must not change while entries of older programs live.
func frozen(t *testing.T, what string, got []byte, want string) {
	t.Helper()
	if h := hex.EncodeToString(got); h != want {
		t.Errorf(`%s: the bytes have changed.
Programs of two versions run at once during a deploy and share entries. If the change is meant, raise
envelopeVersion or codecVersion (for a key: nothing helps but a new namespace), say so in the changelog,
and put the new bytes here.
 got %s
want %s`, what, h, want)
	}
}

func hexOf(s string) string { return hex.EncodeToString([]byte(s)) }

func codecOf[T any](t testing.TB) *codec {
	t.Helper()
	c, err := codecFor[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func codecFor[T any]() (*codec, error) {
	table, err := model.NewTable(model.Spec[T, int64]{Name: "things", Key: "id"})
	if err != nil {
		return nil, err
	}
	return newCodec(table.Relation())
}

// Everything is here that a column can be, with an embedded struct, fields that are no columns, and gaps between them.
type everything struct {
	ID    int64  `db:"id"`
	Small int8   `db:"small"`
	Big   uint64 `db:"big"`
	Times
	Flag bool    `db:"flag"`
	Real float64 `db:"real"`
	Text string  `db:"text"`
	Raw  []byte  `db:"raw"`
	None *string `db:"none"`

	UUID  uuid.UUID       `db:"uuid"`
	Tags  pq.StringArray  `db:"tags"`
	Null  sql.NullInt64   `db:"null"`
	Grade grade           `db:"grade"`
	Both  sql.Null[grade] `db:"both"`
}

type Times struct {
	At   time.Time  `db:"at"`
	note byte       `db:"-"`
	Gone *time.Time `db:"gone"`
}

func anything() *everything {
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
	return &everything{
		ID: 7, Small: -8, Big: math.MaxUint64, Times: Times{At: at, Gone: &at}, Flag: true, Real: -0.5, Text: "a\x00\xff",
		Raw: []byte{0, 255}, UUID: uuid.UUID{15: 1}, Tags: pq.StringArray{"x", ""}, Null: sql.NullInt64{Int64: -1, Valid: true},
		Grade: good, Both: sql.Null[grade]{V: bad, Valid: true},
	}
}

func TestPayloadIsFrozen(t *testing.T) {
	c := codecOf[everything](t)
	for what, rec := range map[string]*everything{"full": anything(), "empty": {Grade: good}} {
		payload, err := c.encode(rec)
		if err != nil {
			t.Fatal(err)
		}
		frozen(t, "payload, "+what, payload, map[string]string{
			"full":  "ad6269640765736d616c6c27636269671bffffffffffffffff626174781e323032342d30322d32395432333a35393a35392e3132333435363738395a64676f6e65781e323032342d30322d32395432333a35393a35392e3132333435363738395a64666c6167f5647265616cfbbfe00000000000006474657874636100ff637261774200ff646e6f6e65f664757569645000000000000000000000000000000001647461677382617860646e756c6ca2617620626f6bf58264676f6f6463626164",
			"empty": "ad6269640065736d616c6c006362696700626174f664676f6e65f664666c6167f4647265616cfb000000000000000064746578746063726177f6646e6f6e65f6647575696450000000000000000000000000000000006474616773f6646e756c6ca2617600626f6bf48264676f6f64f6",
		}[what])
	}
	frozen(t, "fingerprint", binary.BigEndian.AppendUint64(nil, c.fingerprint), "077b9bfa47fc6e32")
}

// grade is an enum: a number in Go, a text in the database.
type grade int

const (
	bad grade = iota + 1
	good
)

func (g grade) Value() (driver.Value, error) {
	switch g {
	case bad:
		return "bad", nil
	case good:
		return "good", nil
	}
	return nil, fmt.Errorf("no grade %d", int(g))
}

func (g *grade) Scan(src any) error {
	switch src {
	case "bad":
		*g = bad
	case "good":
		*g = good
	default:
		return fmt.Errorf("no grade %v", src)
	}
	return nil
}

// grades is a list of enums: [1] in Go, {bad} in the database.
type grades []grade

func (g grades) Value() (driver.Value, error) { return fmt.Sprint(([]grade)(g)), nil }
func (g *grades) Scan(src any) error {
	*g = grades{}
	for _, s := range strings.Fields(strings.Trim(src.(string), "[]")) {
		*g = append(*g, map[string]grade{"bad": bad, "good": good}[s])
	}
	return nil
}

func (g grade) String() string { return map[grade]string{bad: "bad", good: "good"}[g] }

// closed keeps what it holds to itself: any codec that goes by exported fields loses it without a word.
type closed struct{ n int64 }

func (c closed) Value() (driver.Value, error) { return c.n, nil }
func (c *closed) Scan(src any) (err error)    { c.n, err = src.(int64), nil; return }

// attributes are a JSON document.
type attributes map[string]any

func (a attributes) Value() (driver.Value, error) {
	if a == nil {
		return nil, nil
	}
	return json.Marshal(map[string]any(a))
}

func (a *attributes) Scan(src any) error {
	if src == nil {
		*a = nil
		return nil
	}
	return json.Unmarshal(src.([]byte), (*map[string]any)(a))
}

// keeper keeps the memory it is given, which it must not.
type keeper struct{ b []byte }

func (k keeper) Value() (driver.Value, error) { return k.b, nil }
func (k *keeper) Scan(src any) error          { k.b, _ = src.([]byte); return nil }

// rounded drops what is below a second.
type rounded struct{ at time.Time }

func (r rounded) Value() (driver.Value, error) { return r.at.Truncate(time.Second), nil }
func (r *rounded) Scan(src any) error          { r.at, _ = src.(time.Time); return nil }

// moment is a time that is scanned, to the nanosecond.
type moment struct{ at time.Time }

func (m moment) Value() (driver.Value, error) { return m.at, nil }
func (m *moment) Scan(src any) error          { m.at, _ = src.(time.Time); return nil }

// address has the marshalling of netip.Addr beside its conversion.
type address struct{ netip.Addr }

func (a address) Value() (driver.Value, error) { return a.String(), nil }
func (a *address) Scan(src any) (err error) {
	a.Addr, err = netip.ParseAddr(src.(string))
	return err
}

// secret prints stars, and is kept encrypted.
type secret string

func (s secret) MarshalText() ([]byte, error)  { return []byte("***"), nil }
func (s *secret) UnmarshalText(b []byte) error { *s = secret(b); return nil }
func (s secret) Value() (driver.Value, error)  { return "rot:" + rot13(string(s)), nil }
func (s *secret) Scan(src any) error {
	*s = secret(rot13(strings.TrimPrefix(src.(string), "rot:")))
	return nil
}

func rot13(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return 'a' + (r-'a'+13)%26
		}
		return r
	}, s)
}

// shown is a number in Go and in the database; its text is for people, and loses something.
type shown int

func (s shown) MarshalText() ([]byte, error)     { return fmt.Appendf(nil, "%d", s/10*10), nil }
func (s *shown) UnmarshalText(b []byte) error    { _, err := fmt.Sscan(string(b), (*int)(s)); return err }
func (s shown) MarshalCBOR() ([]byte, error)     { return []byte{0xf6}, nil }
func (s *shown) UnmarshalCBOR(data []byte) error { return nil }

type (
	name       string
	flags      uint16
	one[V any] struct {
		ID int64 `db:"id"`
		V  V     `db:"v"`
	}
)

// keeps encodes a record with each value, and wants the very same back, from a payload that is then overwritten.
func keeps[V any](values ...V) func(t *testing.T) {
	return func(t *testing.T) {
		c := codecOf[one[V]](t)
		for _, v := range values {
			in := &one[V]{1, v}
			payload, err := c.encode(in)
			if err != nil {
				t.Errorf("%#v: %v", v, err)
				continue
			}
			var out one[V]
			if err := c.decode(payload, &out); err != nil {
				t.Errorf("%#v: %v", v, err)
			}
			for i := range payload {
				payload[i] = 0xa5
			}
			if got, want := dump(out), dump(*in); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
	}
}

// refuses wants an error for each value: what is not kept exactly is not kept.
func refuses[V any](values ...V) func(t *testing.T) {
	return func(t *testing.T) {
		c := codecOf[one[V]](t)
		for _, v := range values {
			if payload, err := c.encode(&one[V]{1, v}); err == nil {
				t.Errorf("%s was encoded: %x", dump(v), payload)
			}
		}
	}
}

// dump tells apart whatever can be told apart: nil and empty, 0 and -0, one NaN and another.
func dump(v any) string {
	var b strings.Builder
	dumpTo(&b, reflect.ValueOf(v))
	return b.String()
}

func dumpTo(b *strings.Builder, v reflect.Value) {
	fmt.Fprintf(b, "%s(", v.Type())
	defer b.WriteByte(')')
	switch v.Kind() {
	case reflect.Float32:
		fmt.Fprintf(b, "%x", math.Float32bits(float32(v.Float())))
	case reflect.Float64:
		fmt.Fprintf(b, "%x", math.Float64bits(v.Float()))
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			b.WriteString("nil")
			return
		}
		dumpTo(b, v.Elem())
	case reflect.Slice, reflect.Array:
		if v.Kind() == reflect.Slice && v.IsNil() {
			b.WriteString("nil")
			return
		}
		for i := range v.Len() {
			dumpTo(b, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			dumpTo(b, v.Field(i))
		}
	case reflect.Map:
		if v.IsNil() {
			b.WriteString("nil")
			return
		}
		fmt.Fprintf(b, "%#v", v)
	default:
		fmt.Fprintf(b, "%#v", v)
	}
}

func ptr[V any](v V) *V { return &v }

func TestExactTypes(t *testing.T) {
	at := time.Date(2024, 2, 29, 23, 59, 59, 123456789, time.UTC)
	year := func(y int) time.Time { return time.Date(y, 12, 31, 23, 59, 59, 999999999, time.UTC) }
	for what, test := range map[string]func(t *testing.T){
		"int":     keeps(0, math.MinInt, math.MaxInt),
		"int8":    keeps[int8](0, math.MinInt8, math.MaxInt8),
		"int16":   keeps[int16](0, math.MinInt16, math.MaxInt16),
		"int32":   keeps[int32](0, math.MinInt32, math.MaxInt32),
		"int64":   keeps[int64](0, math.MinInt64, math.MaxInt64, 1<<53+1, -24, -25, 23, 24, 255, 256),
		"uint":    keeps[uint](0, math.MaxUint),
		"uint8":   keeps[uint8](0, math.MaxUint8),
		"uint16":  keeps[uint16](0, math.MaxUint16),
		"uint32":  keeps[uint32](0, math.MaxUint32),
		"uint64":  keeps[uint64](0, math.MaxUint64, math.MaxInt64+1),
		"float32": keeps(0, float32(math.Copysign(0, -1)), math.MaxFloat32, math.SmallestNonzeroFloat32, float32(math.Inf(-1)), 0.1),
		"float64": keeps(0, math.Copysign(0, -1), math.MaxFloat64, math.SmallestNonzeroFloat64, math.Inf(1), 0.1, 1,
			math.NaN(), math.Float64frombits(0x7ff8dead00000001)),
		"float32 NaN": keeps(float32(math.NaN())),
		"bool":        keeps(true, false),
		"string":      keeps("", "x", "\x00", "\xff\xfe", "日本", strings.Repeat("x", 70_000)),
		"[]byte":      keeps(nil, []byte{}, []byte{0}, bytes.Repeat([]byte{0xff}, 70_000)),
		"time":        keeps(at, time.Time{}, year(0), year(1), year(9999), time.Unix(0, 1).UTC()),
		"time, years": refuses(year(10000), year(-1), year(-5000), year(250000)),
		"*time":       keeps(nil, &at, ptr(year(9999))),
		"*time, zero": refuses(&time.Time{}, ptr(year(10000))),

		"named string":  keeps[name]("", "x"),
		"named number":  keeps[flags](0, math.MaxUint16),
		"*int":          keeps(nil, ptr(0), ptr(-1)),
		"*string":       keeps(nil, ptr(""), ptr("x")),
		"*bool":         keeps(nil, ptr(false), ptr(true)),
		"*float64":      keeps(nil, ptr(math.NaN()), ptr(math.Copysign(0, -1))),
		"*named":        keeps(nil, ptr(name("")), ptr(name("x"))),
		"*[]byte":       keeps(nil, ptr([]byte{}), ptr([]byte{1})),
		"*[]byte, nil":  refuses(ptr[[]byte](nil)),
		"RawMessage":    keeps(nil, json.RawMessage{}, json.RawMessage("{ \"a\" : 1}")),
		"*RawMessage":   keeps(nil, ptr(json.RawMessage("null"))),
		"text for show": keeps[shown](0, 15, -1),

		"NullString":    keeps(sql.NullString{}, sql.NullString{Valid: true}, sql.NullString{String: "x", Valid: true}, sql.NullString{String: "x"}),
		"NullInt64":     keeps(sql.NullInt64{}, sql.NullInt64{Int64: math.MinInt64, Valid: true}),
		"NullInt32":     keeps(sql.NullInt32{}, sql.NullInt32{Int32: math.MinInt32, Valid: true}),
		"NullInt16":     keeps(sql.NullInt16{}, sql.NullInt16{Int16: math.MinInt16, Valid: true}),
		"NullByte":      keeps(sql.NullByte{}, sql.NullByte{Byte: 255, Valid: true}),
		"NullBool":      keeps(sql.NullBool{}, sql.NullBool{Valid: true}, sql.NullBool{Bool: true, Valid: true}),
		"NullFloat64":   keeps(sql.NullFloat64{}, sql.NullFloat64{Float64: math.NaN(), Valid: true}),
		"NullTime":      keeps(sql.NullTime{}, sql.NullTime{Valid: true}, sql.NullTime{Time: at, Valid: true}),
		"NullTime year": refuses(sql.NullTime{Time: year(10000), Valid: true}),
		"Null[int]":     keeps(sql.Null[int]{}, sql.Null[int]{V: -1, Valid: true}),
		"Null[time]":    keeps(sql.Null[time.Time]{}, sql.Null[time.Time]{V: at, Valid: true}),
		"Null[[]byte]":  keeps(sql.Null[[]byte]{}, sql.Null[[]byte]{Valid: true}, sql.Null[[]byte]{V: []byte{}, Valid: true}),
		"Null[named]":   keeps(sql.Null[name]{V: "x", Valid: true}),
		"Null[grade]":   keeps(sql.Null[grade]{}, sql.Null[grade]{V: good, Valid: true}),
		"*NullString":   keeps(nil, &sql.NullString{}, &sql.NullString{Valid: true}),
		"*NullTime":     keeps(nil, &sql.NullTime{}, &sql.NullTime{Time: at, Valid: true}),

		"uuid":         keeps(uuid.UUID{}, uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8")),
		"*uuid":        keeps(nil, &uuid.UUID{}, ptr(uuid.MustParse("6ba7b810-9dad-11d1-80b4-00c04fd430c8"))),
		"NullUUID":     keeps(uuid.NullUUID{}, uuid.NullUUID{Valid: true}, uuid.NullUUID{UUID: uuid.UUID{1}, Valid: true}),
		"StringArray":  keeps(nil, pq.StringArray{}, pq.StringArray{""}, pq.StringArray{"a,\"b\"", "{}", "NULL", "\xff"}),
		"Int64Array":   keeps(nil, pq.Int64Array{}, pq.Int64Array{math.MinInt64, 0}, make(pq.Int64Array, 200_000)),
		"BoolArray":    keeps(nil, pq.BoolArray{}, pq.BoolArray{true, false}),
		"Float64Array": keeps(nil, pq.Float64Array{}, pq.Float64Array{math.NaN(), math.Copysign(0, -1)}),
		"ByteaArray":   keeps(nil, pq.ByteaArray{}, pq.ByteaArray{{}, {0, 1}, nil}),
		"*StringArray": keeps(nil, &pq.StringArray{}, &pq.StringArray{"x"}),

		"enum":               keeps(bad, good),
		"enum, unknown":      refuses[grade](0, 17),
		"*enum":              keeps(nil, ptr(good)),
		"unexported fields":  keeps(closed{}, closed{math.MinInt64}),
		"*unexported fields": keeps(nil, &closed{}, &closed{1}),
		"JSON":               keeps(nil, attributes{}, attributes{"a": "b", "n": nil}),
		"JSON, other types":  refuses(attributes{"n": 1}),
		"*JSON, nil":         refuses(ptr[attributes](nil)),
		"scanned time":       keeps(moment{}, moment{at}),
		"scanned time, year": refuses(moment{year(10000)}, moment{year(-1)}),
		"lossy":              refuses(rounded{at}),
		"lossy, lucky":       keeps(rounded{at.Truncate(time.Second)}),
		"memory kept":        keeps(keeper{[]byte{}}, keeper{[]byte{1, 2}}, keeper{}),
		"netip":              keeps(address{netip.MustParseAddr("::1%eth0")}, address{netip.MustParseAddr("10.0.0.1")}),
		"netip, zero":        refuses(address{}),
		"secret":             keeps[secret]("", "hush"),
	} {
		t.Run(what, test)
	}
}

// What is stored of a type with a conversion of its own is the database's form: an encrypted column stays encrypted, and
// an enum keeps its meaning when its numbers are dealt anew.
func TestConversionsAreStoredAsTheDatabaseHasThem(t *testing.T) {
	for what, test := range map[string]struct {
		encode func() ([]byte, error)
		want   string
	}{
		"secret": {func() ([]byte, error) { return codecOf[one[secret]](t).encode(&one[secret]{1, "hush"}) }, "rot:uhfu"},
		"enum":   {func() ([]byte, error) { return codecOf[one[grade]](t).encode(&one[grade]{1, good}) }, "good"},
		"*enum":  {func() ([]byte, error) { return codecOf[one[*grade]](t).encode(&one[*grade]{1, ptr(good)}) }, "good"},
		"enums":  {func() ([]byte, error) { return codecOf[one[grades]](t).encode(&one[grades]{1, grades{good}}) }, "[good]"},
		"Null[enum]": {func() ([]byte, error) {
			return codecOf[one[sql.Null[grade]]](t).encode(&one[sql.Null[grade]]{1, sql.Null[grade]{V: good, Valid: true}})
		}, "good"},
	} {
		if payload, err := test.encode(); err != nil || bytes.Contains(payload, []byte("hush")) || !bytes.Contains(payload, []byte(test.want)) {
			t.Errorf("%s: %q, %v", what, payload, err)
		}
	}
}

func TestEmbeddedStructs(t *testing.T) {
	c := codecOf[everything](t)
	in := anything()
	payload, err := c.encode(in)
	if err != nil {
		t.Fatal(err)
	}
	var out everything
	if err := c.decode(payload, &out); err != nil || !reflect.DeepEqual(*in, out) {
		t.Errorf("%v\n got %+v\nwant %+v", err, out, *in)
	}

	in.note = 1 // no column: a hit would lose it
	if _, err := c.encode(in); err == nil || !strings.Contains(err.Error(), "note") {
		t.Errorf("a field without a column: %v", err)
	}
}

type (
	Deepest struct {
		_  [0]func()  `db:"-"`
		B1 bool       `db:"b1"`
		mu sync.Mutex `db:"-"`
		S  *string    `db:"s"`
	}
	Deeper struct {
		B2 bool `db:"b2"`
		Deepest
		Gap [3]byte `db:"-"`
	}
	deep struct {
		B3 bool `db:"b3"`
		Deeper
		Skip `db:"-"`
		ID   int64    `db:"id"`
		B4   bool     `db:"b4"`
		End  struct{} `db:"-"`
	}
	Skip struct {
		Lost any
		B1   []string
	}
	// flat has the columns of deep in their order, and nothing else.
	flat struct {
		Third  bool    `db:"b3"`
		Second bool    `db:"b2"`
		First  bool    `db:"b1"`
		Text   *string `db:"s"`
		Key    int64   `db:"id"`
		Fourth bool    `db:"b4"`
	}
)

// How columns are spread over structs, and what fields are called, is the program's own business: entries outlive it.
func TestFieldsMayMove(t *testing.T) {
	one, two := codecOf[deep](t), codecOf[flat](t)
	in := &deep{B3: true, Deeper: Deeper{Deepest: Deepest{B1: true, S: ptr("x")}}, ID: 3, B4: true}
	payload, err := one.encode(in)
	if err != nil {
		t.Fatal(err)
	}
	var same deep
	if err := one.decode(payload, &same); err != nil || !reflect.DeepEqual(in, &same) {
		t.Errorf("%+v, %v", &same, err)
	}
	var out flat
	if err := two.decode(payload, &out); err != nil || !reflect.DeepEqual(out, flat{true, false, true, ptr("x"), 3, true}) {
		t.Errorf("%+v, %v", out, err)
	}
	if one.fingerprint != two.fingerprint {
		t.Error("another fingerprint for the same columns")
	}
	for what, set := range map[string]func(d *deep){
		"Skip": func(d *deep) { d.Lost = 1 }, "Gap": func(d *deep) { d.Gap[2] = 1 },
		"mu": func(d *deep) { d.mu.Lock() },
	} {
		d := &deep{}
		set(d)
		if _, err := one.encode(d); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s is set: %v", what, err)
		}
	}
}

func TestFingerprint(t *testing.T) {
	type (
		base struct {
			ID int64  `db:"id"`
			A  string `db:"a"`
			B  string `db:"b"`
		}
		renamedField struct {
			Key int64  `db:"id"`
			X   string `db:"a"`
			Y   string `db:"b"`
		}
		renamedColumn struct {
			ID int64  `db:"id"`
			A  string `db:"a"`
			B  string `db:"c"`
		}
		otherOrder struct {
			ID int64  `db:"id"`
			B  string `db:"b"`
			A  string `db:"a"`
		}
		otherType struct {
			ID int64  `db:"id"`
			A  string `db:"a"`
			B  []byte `db:"b"`
		}
		nullable struct {
			ID int64   `db:"id"`
			A  string  `db:"a"`
			B  *string `db:"b"`
		}
		otherName struct {
			ID int64  `db:"id"`
			A  string `db:"a"`
			B  name   `db:"b"`
		}
		more struct {
			base
			C string `db:"c"`
		}
		fewer struct {
			ID int64  `db:"id"`
			A  string `db:"a"`
		}
		pair struct {
			ID int64  `db:"id"`
			A  string `db:"a string"`
			B  string `db:"b"`
		}
	)
	seen := map[uint64]string{}
	for what, c := range map[string]*codec{
		"base": codecOf[base](t), "column renamed": codecOf[renamedColumn](t), "order": codecOf[otherOrder](t),
		"type": codecOf[otherType](t), "nullable": codecOf[nullable](t), "named": codecOf[otherName](t),
		"more": codecOf[more](t), "fewer": codecOf[fewer](t), "blank": codecOf[pair](t),
	} {
		if other, ok := seen[c.fingerprint]; ok {
			t.Errorf("%s and %s have the same fingerprint", what, other)
		}
		seen[c.fingerprint] = what
	}
	if codecOf[base](t).fingerprint != codecOf[renamedField](t).fingerprint {
		t.Error("the fingerprint depends on the names of Go fields")
	}
}

func TestRefusedTypes(t *testing.T) {
	for _, test := range []struct {
		err  error
		says []string
	}{
		{newFor[sql.Null[any]](), []string{"table things", "column v", "sql.Null[interface {}] does not say what it holds"}},
		{newFor[*sql.Null[any]](), []string{"table things", "column v", "sql.Null[interface {}] does not say what it holds"}},
		{newFor[sql.RawBytes](), []string{"table things", "column v", "driver's memory"}},
		{newFor[*sql.RawBytes](), []string{"table things", "column v", "driver's memory"}},
		// These are refused when the table is declared; the codec says no by itself as well.
		{newFor[any](), []string{"things", ".V", "interface"}},
		{newFor[chan int](), []string{"things", ".V", "chan int"}},
		{newFor[complex128](), []string{"things", ".V", "complex128"}},
		{newFor[map[string]int](), []string{"things", ".V", "map[string]int"}},
		{newFor[[]string](), []string{"things", ".V", "[]string"}},
		{newFor[netip.Addr](), []string{"things", ".V", "netip.Addr"}},
		{newFor[**int](), []string{"things", ".V", "**int"}},
	} {
		for _, part := range test.says {
			if test.err == nil || !strings.Contains(test.err.Error(), part) {
				t.Errorf("%v: want %q in it", test.err, part)
			}
		}
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[any](), reflect.TypeFor[*any](), reflect.TypeFor[chan int](), reflect.TypeFor[complex128](), reflect.TypeFor[map[string]int](),
		reflect.TypeFor[netip.Addr](), reflect.TypeFor[**int](), reflect.TypeFor[func()](), reflect.TypeFor[struct{}](),
	} {
		if stored, err := storedAs(typ); err == nil {
			t.Errorf("%s is stored as %v", typ, stored)
		}
	}
}

func newFor[V any]() error {
	_, err := codecFor[one[V]]()
	return err
}

// A type's Scan is given what a driver gives it, and nothing else, whatever the payload.
func TestScanIsGivenDriverValues(t *testing.T) {
	c := codecOf[one[moment]](t)
	payload, err := c.encode(&one[moment]{ID: 1})
	if err != nil {
		t.Fatal(err)
	}
	head, _, ok := bytes.Cut(payload, []byte{0x81}) // the list of one value
	if !ok {
		t.Fatalf("%x", payload)
	}
	for _, tail := range []string{"81a0", "8180", "81c24101", "81f7f7", "80", "82f6f6", "f6", "01", "", "81"} {
		bad, _ := hex.DecodeString(tail)
		var rec one[moment]
		if err := c.decode(append(bytes.Clone(head), bad...), &rec); err == nil {
			t.Errorf("%s was scanned", tail)
		}
	}
}

// A record that was decoded shares no memory with the payload, nor with a second one.
func TestDecodedMemoryIsOwn(t *testing.T) {
	c := codecOf[everything](t)
	want := anything()
	payload, err := c.encode(want)
	if err != nil {
		t.Fatal(err)
	}
	kept := bytes.Clone(payload)
	var one, two everything
	for _, rec := range []*everything{&one, &two} {
		if err := c.decode(payload, rec); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(payload, kept) {
		t.Error("decode wrote to the payload")
	}
	one.Raw[0], one.Tags[0], *one.Gone = 9, "changed", time.Time{}
	clear(payload)
	if !reflect.DeepEqual(&two, want) {
		t.Errorf("got %+v", two)
	}
}

func TestCodecIsConcurrent(t *testing.T) {
	c := codecOf[everything](t)
	want := anything()
	payload, err := c.encode(want)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				var rec everything
				if err := c.decode(payload, &rec); err != nil || !reflect.DeepEqual(&rec, want) {
					t.Errorf("%+v, %v", rec, err)
					return
				}
				if again, err := c.encode(&rec); err != nil || !bytes.Equal(again, payload) {
					t.Errorf("%x, %v", again, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Whatever the bytes: no panic, little memory, and what is accepted is a record that can be stored again. (The checksum
// keeps such bytes away from decode; a second line costs nothing.)
func FuzzDecode(f *testing.F) {
	c := codecOf[everything](f)
	for _, rec := range []*everything{anything(), {Grade: bad}} {
		payload, err := c.encode(rec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
		f.Add(payload[:len(payload)-1])
	}
	f.Add([]byte{0xa1, 0x64, 't', 'a', 'g', 's', 0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) // a list of 2^63-1
	f.Add([]byte{0xa0, 0x80})
	f.Fuzz(func(t *testing.T, payload []byte) {
		var before, after goruntime.MemStats
		goruntime.ReadMemStats(&before)
		var rec everything
		err := c.decode(payload, &rec)
		goruntime.ReadMemStats(&after)
		if used, limit := after.TotalAlloc-before.TotalAlloc, uint64(1<<20+200*len(payload)); used > limit {
			t.Fatalf("%d bytes of memory for %d", used, len(payload))
		}
		if err != nil {
			return
		}
		again, err := c.encode(&rec)
		if err != nil {
			return // a value that is not kept exactly, and known as such
		}
		var same everything
		if err := c.decode(again, &same); err != nil || dump(same) != dump(rec) {
			t.Fatalf("%v\n got %s\nwant %s", err, dump(same), dump(rec))
		}
	})
}

package cachedrepo

import (
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/asidego/aside/model"
)

// A codec turns records of one type into payloads and back, exactly or not at all. A payload is one CBOR map from column
// name to value, followed by one CBOR array with the columns whose types have their own conversion for databases
// (sql.Scanner with driver.Valuer): these are kept as the value that the driver would get, and scanned again.
//
// encoding/json would drop a `json:"-"` column, and every codec fills a column that it does not find with zero. Hence
// names come from the db tags, and the envelope's fingerprint covers names and types.
//
// CBOR reads struct tags named cbor and calls methods such as MarshalText; records have tags named db, and a method that
// prints a value for people need not keep all of it. So there is a mirror type, made once, with the very memory layout of
// the record, the tags that the codec wants and no methods at all. Records are encoded in place, seen through it.
type codec struct {
	mirror      reflect.Type
	foreign     []foreignColumn
	checks      []check
	fingerprint uint64
}

// foreignColumn is a column that is stored as a driver.Value.
type foreignColumn struct {
	name string
	path []int
}

// check is a field that may hold what would be read back as something else. It is looked at in every record: a sample
// would let one through that is returned wrong for a whole TTL.
type check struct {
	path   []int
	where  string
	column bool
}

// codecVersion is part of the fingerprint. Raise it whenever the same record would be encoded differently.
const codecVersion = 1

var (
	encMode = must(cbor.EncOptions{
		Time:       cbor.TimeRFC3339NanoUTC,
		NaNConvert: cbor.NaNConvertNone,
	}.EncMode())
	decMode = must(cbor.DecOptions{
		UTF8:              cbor.UTF8DecodeInvalid,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		IntDec:            cbor.IntDecConvertSignedOrFail, // driver.Value knows int64 only
		MaxArrayElements:  math.MaxInt32,                  // bounded by the length of the payload
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newCodec(rel *model.Relation) (*codec, error) {
	c := &codec{}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", codecVersion)
	columns := make(map[string]column, len(rel.Columns))
	for i := range rel.Columns {
		col := &rel.Columns[i]
		stored, err := storedAs(col.Type)
		if err != nil {
			return nil, fmt.Errorf("aside: table %s: column %s: %w", rel.Name, col.Name, err)
		}
		columns[fmt.Sprint(col.Path())] = column{col.Name, stored}
		if stored == nil {
			c.foreign = append(c.foreign, foreignColumn{col.Name, col.Path()})
		}
		// The type's name, too: what an enum's numbers mean is known to its type alone.
		fmt.Fprintf(h, "%q %s %s %d %v\n", col.Name, packageOf(col.Type), col.Type, col.Type.Size(), stored)
	}
	c.fingerprint = binary.BigEndian.Uint64(h.Sum(nil))
	mirror, err := c.mirrorOf(rel.Record, columns, nil)
	if err != nil {
		return nil, fmt.Errorf("aside: table %s: %w", rel.Name, err)
	}
	c.mirror = mirror
	return c, c.selfTest(rel)
}

// column is how a column is stored.
type column struct {
	name   string
	stored reflect.Type // of the mirror's field; nil: as a driver.Value
}

func packageOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.PkgPath()
}

// storedAs returns the type without methods that holds all that t holds, or nil for a type that is stored as its
// driver.Value. It refuses what could not be stored exactly.
func storedAs(t reflect.Type) (reflect.Type, error) {
	base := t
	if t.Kind() == reflect.Pointer {
		base = t.Elem()
	}
	own, stored := converts(base), plain(base)
	switch {
	case base == reflect.TypeFor[sql.RawBytes]():
		return nil, errors.New("a sql.RawBytes is the driver's memory: use []byte")
	case isNull(base) && base.Field(0).Type.Kind() == reflect.Interface:
		return nil, fmt.Errorf("a %s does not say what it holds", t)
	case stored == nil && !own:
		return nil, fmt.Errorf("a %s cannot be stored exactly: it is no basic type, and no sql.Scanner with driver.Valuer", t)
	case stored == nil || own && !transparent(base):
		return nil, nil
	case t.Kind() == reflect.Pointer:
		return reflect.PointerTo(stored), nil
	}
	return stored, nil
}

// converts tells of types that have a conversion of their own.
func converts(t reflect.Type) bool {
	p := reflect.PointerTo(t)
	return p.Implements(reflect.TypeFor[sql.Scanner]()) && p.Implements(reflect.TypeFor[driver.Valuer]())
}

// transparent tells of types with a conversion of their own that hold just what the column does: those of database/sql,
// lists of basic types such as pq.StringArray, arrays such as uuid.UUID. Of all others the database's form is stored: it
// is the one that keeps its meaning when a program is changed, and it may be encrypted on purpose.
func transparent(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Slice:
		return t.Elem().Kind() != reflect.Uint8
	case reflect.Array:
		return true
	}
	return t.PkgPath() == "database/sql"
}

var basics = map[reflect.Kind]reflect.Type{
	reflect.Bool: reflect.TypeFor[bool](), reflect.String: reflect.TypeFor[string](),
	reflect.Int: reflect.TypeFor[int](), reflect.Int8: reflect.TypeFor[int8](), reflect.Int16: reflect.TypeFor[int16](),
	reflect.Int32: reflect.TypeFor[int32](), reflect.Int64: reflect.TypeFor[int64](),
	reflect.Uint: reflect.TypeFor[uint](), reflect.Uint8: reflect.TypeFor[uint8](), reflect.Uint16: reflect.TypeFor[uint16](),
	reflect.Uint32: reflect.TypeFor[uint32](), reflect.Uint64: reflect.TypeFor[uint64](),
	reflect.Float32: reflect.TypeFor[float32](), reflect.Float64: reflect.TypeFor[float64](),
}

// plain is t without methods, down to its last part; nil for a type that has no such form.
func plain(t reflect.Type) reflect.Type {
	if t == reflect.TypeFor[time.Time]() {
		return t
	}
	if b := basics[t.Kind()]; b != nil {
		return b
	}
	switch t.Kind() {
	case reflect.Slice, reflect.Array:
		elem := t.Elem()
		bytes := elem.Kind() == reflect.Slice && elem.Elem().Kind() == reflect.Uint8
		if elem.PkgPath() != "" || !bytes && basics[elem.Kind()] == nil {
			return nil // elements with a name may have a meaning of their own
		}
		if t.Kind() == reflect.Slice {
			return reflect.SliceOf(elem)
		}
		return reflect.ArrayOf(t.Len(), elem)
	case reflect.Struct:
		if !isNull(t) {
			return nil
		}
		inner := t.Field(0).Type
		value := plain(inner)
		if value == nil || converts(inner) && !transparent(inner) {
			return nil
		}
		return reflect.StructOf([]reflect.StructField{
			{Name: "V", Type: value, Tag: `cbor:"v"`},
			{Name: "Valid", Type: reflect.TypeFor[bool](), Tag: `cbor:"ok"`},
		})
	}
	return nil
}

// isNull tells of sql.NullString and the like, and of sql.Null[T].
func isNull(t reflect.Type) bool {
	return t.PkgPath() == "database/sql" && strings.HasPrefix(t.Name(), "Null") && t.NumField() == 2
}

// mirrorOf builds the type of the same layout. The columns of embedded structs are the record's own.
func (c *codec) mirrorOf(t reflect.Type, columns map[string]column, path []int) (reflect.Type, error) {
	fields := make([]reflect.StructField, t.NumField())
	for i := range fields {
		f := t.Field(i)
		at := append(slices.Clone(path), i)
		m := reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: f.Type, Tag: `cbor:"-"`}
		col, isColumn := columns[fmt.Sprint(at)]
		switch {
		case isColumn && col.stored != nil:
			m.Type, m.Tag = col.stored, reflect.StructTag(fmt.Sprintf("cbor:%q", col.name))
			if mayDiffer(col.stored) {
				c.checks = append(c.checks, check{at, "column " + col.name, true})
			}
		case isColumn: // stored as a driver.Value
		case f.Anonymous && f.Type.Kind() == reflect.Struct && embeds(columns, at):
			inner, err := c.mirrorOf(f.Type, columns, at)
			if err != nil {
				return nil, err
			}
			m.Type, m.Tag, m.Anonymous = inner, "", true
		default:
			c.checks = append(c.checks, check{at, "field " + f.Name, false})
		}
		fields[i] = m
	}
	mirror := reflect.StructOf(fields)
	same := mirror.Size() == t.Size() && mirror.Align() == t.Align()
	for i := range fields {
		same = same && mirror.Field(i).Offset == t.Field(i).Offset
	}
	if !same {
		return nil, fmt.Errorf("%s has a layout that cannot be mirrored", t)
	}
	return mirror, nil
}

// embeds tells whether there are columns inside the field at path.
func embeds(columns map[string]column, path []int) bool {
	inside := strings.TrimSuffix(fmt.Sprint(path), "]") + " "
	for at := range columns {
		if strings.HasPrefix(at, inside) {
			return true
		}
	}
	return false
}

// view is rec, a pointer to a record, as a pointer to the mirror type.
func (c *codec) view(rec any) reflect.Value {
	return reflect.NewAt(c.mirror, reflect.ValueOf(rec).UnsafePointer())
}

// encode returns the payload of rec, a pointer to a record, or an error if it would be read back as another.
func (c *codec) encode(rec any) ([]byte, error) {
	view := c.view(rec)
	for _, ch := range c.checks {
		v := view.Elem().FieldByIndex(ch.path)
		if !ch.column && !v.IsZero() {
			return nil, fmt.Errorf("%s is no column and is set", ch.where)
		}
		if ch.column {
			if why := differs(v); why != "" {
				return nil, fmt.Errorf("%s: %s", ch.where, why)
			}
		}
	}
	b, err := encMode.Marshal(view.Interface())
	if err != nil || len(c.foreign) == 0 {
		return b, err
	}
	values := make([]any, len(c.foreign))
	for i, f := range c.foreign {
		if values[i], err = driverValue(reflect.ValueOf(rec).Elem().FieldByIndex(f.path)); err != nil {
			return nil, fmt.Errorf("column %s: %w", f.name, err)
		}
	}
	tail, err := encMode.Marshal(values)
	if err != nil {
		return nil, err
	}
	if b = append(b, tail...); !c.same(rec, b) { // what the conversions of these types keep, they alone know
		return nil, errors.New("the record does not survive encoding")
	}
	return b, nil
}

// driverValue is what the driver would get, in a form that keeps its type.
func driverValue(v reflect.Value) (any, error) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return nil, nil
		}
		v = v.Elem()
	}
	var x any
	for x = v.Addr().Interface(); ; {
		valuer, ok := x.(driver.Valuer)
		if !ok {
			break
		}
		inner, err := valuer.Value()
		if err != nil {
			return nil, err
		}
		if reflect.TypeOf(inner) == reflect.TypeOf(x) {
			return nil, fmt.Errorf("the Value of a %T is another", x)
		}
		x = inner
	}
	if !driver.IsValue(x) {
		return nil, fmt.Errorf("its Value is a %T", x)
	}
	if t, ok := x.(time.Time); ok {
		return cbor.Tag{Number: 0, Content: t.UTC().Format(time.RFC3339Nano)}, nil
	}
	return x, nil
}

// decode fills rec, a pointer to a zero record, from a payload. Nothing in rec refers to the payload's memory.
func (c *codec) decode(payload []byte, rec any) error {
	view := c.view(rec).Interface()
	if len(c.foreign) == 0 {
		return decMode.Unmarshal(payload, view)
	}
	rest, err := decMode.UnmarshalFirst(payload, view)
	if err != nil {
		return err
	}
	var values []any
	if err := decMode.Unmarshal(rest, &values); err != nil {
		return err
	}
	if len(values) != len(c.foreign) {
		return errDamaged
	}
	for i, f := range c.foreign {
		if !driver.IsValue(values[i]) {
			return errDamaged
		}
		v := reflect.ValueOf(rec).Elem().FieldByIndex(f.path)
		if v.Kind() == reflect.Pointer {
			if values[i] == nil {
				continue
			}
			v.Set(reflect.New(v.Type().Elem()))
			v = v.Elem()
		}
		if err := v.Addr().Interface().(sql.Scanner).Scan(values[i]); err != nil {
			return fmt.Errorf("column %s: %w", f.name, err)
		}
	}
	return nil
}

// roundTrips tells whether what a reader would get from payload equals rec, to the last bit.
func (c *codec) roundTrips(rel *model.Relation, rec any, payload []byte) bool {
	return c.same(rec, payload)
}

func (c *codec) same(rec any, payload []byte) bool {
	want := reflect.ValueOf(rec)
	back := reflect.New(want.Type().Elem())
	return c.decode(payload, back.Interface()) == nil && identical(c.view(rec).Elem(), c.view(back.Interface()).Elem())
}

// identical is reflect.DeepEqual, but for numbers that are not what == says of them: NaN is NaN, and 0 is not -0.
func identical(a, b reflect.Value) bool {
	switch a.Kind() {
	case reflect.Float32, reflect.Float64:
		return math.Float64bits(a.Float()) == math.Float64bits(b.Float())
	case reflect.Pointer:
		if e := a.Type().Elem(); !a.IsNil() && !b.IsNil() && (basics[e.Kind()] == e || e.Kind() == reflect.Struct && e.Name() == "") {
			return identical(a.Elem(), b.Elem())
		}
	case reflect.Slice, reflect.Array:
		if k := a.Type().Elem().Kind(); k != reflect.Float32 && k != reflect.Float64 {
			break
		}
		if a.Len() != b.Len() || a.Kind() == reflect.Slice && a.IsNil() != b.IsNil() {
			return false
		}
		for i := range a.Len() {
			if !identical(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	case reflect.Struct:
		if a.Type().Name() != "" { // no part of the mirror
			break
		}
		for i := range a.NumField() {
			if !identical(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// mayDiffer tells whether a stored type has values that are read back as others, see differs. (Years that have not four
// digits are an error of encMode.)
func mayDiffer(t reflect.Type) bool {
	return t.Kind() == reflect.Pointer && (t.Elem().Kind() == reflect.Slice || t.Elem() == reflect.TypeFor[time.Time]())
}

// differs says why a pointer would be read back as another.
func differs(v reflect.Value) string {
	switch e := v.Elem(); {
	case v.IsNil():
		return ""
	case e.Kind() == reflect.Slice && e.IsNil():
		return "a pointer to nil would become nil"
	case e.Kind() == reflect.Struct && e.Interface().(time.Time).IsZero():
		return "a pointer to the zero time would become nil"
	}
	return ""
}

// selfTest encodes an empty record. Types that need a value to be encoded at all are left to the check of each record.
func (c *codec) selfTest(rel *model.Relation) error {
	if len(c.foreign) > 0 {
		return nil
	}
	zero := reflect.New(rel.Record).Interface()
	payload, err := c.encode(zero)
	if err != nil {
		return fmt.Errorf("aside: table %s: records cannot be encoded: %w", rel.Name, err)
	}
	if !c.same(zero, payload) {
		return fmt.Errorf("aside: table %s: records do not survive encoding", rel.Name)
	}
	return nil
}

package cachedrepo

import (
	"crypto/sha256"
	"database/sql"
	"database/sql/driver"
	"encoding"
	"encoding/binary"
	"fmt"
	"reflect"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/asidego/aside/model"
)

// A codec turns records of one type into payloads and back, exactly or not at all. A payload is one CBOR map from column
// name to value, followed by one CBOR array with the columns whose types speak to databases alone (sql.Scanner with
// driver.Valuer and no marshalling): these are kept as the value that the driver would get, and scanned again.
//
// encoding/json would drop a `json:"-"` column, and every codec fills a column that it does not find with zero. Hence
// names come from the db tags, and the envelope's fingerprint covers names and types.
//
// CBOR reads struct tags named cbor, records have tags named db: a mirror type, made once, has the very memory layout of
// the record and the tags that the codec wants, so that records are encoded in place.
type codec struct {
	mirror      reflect.Type
	foreign     []foreignColumn
	fingerprint uint64
}

// foreignColumn is a column that is stored as a driver.Value.
type foreignColumn struct {
	name string
	path []int
}

// codecVersion is part of the fingerprint. Raise it whenever the same record would be encoded differently.
const codecVersion = 1

var (
	encMode = must(cbor.EncOptions{
		Time:          cbor.TimeRFC3339NanoUTC,
		TextMarshaler: cbor.TextMarshalerTextString,
	}.EncMode())
	decMode = must(cbor.DecOptions{
		UTF8:              cbor.UTF8DecodeInvalid,
		TextUnmarshaler:   cbor.TextUnmarshalerTextString,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		IntDec:            cbor.IntDecConvertSigned, // driver.Value knows int64 only
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
	columns := make(map[string]*model.Column)
	for i := range rel.Columns {
		col := &rel.Columns[i]
		columns[fmt.Sprint(col.Path())] = col
		foreign, err := exactness(col.Type)
		if err != nil {
			return nil, fmt.Errorf("aside: table %s: column %s: %w", rel.Name, col.Name, err)
		}
		if foreign {
			c.foreign = append(c.foreign, foreignColumn{col.Name, col.Path()})
		}
	}
	mirror, err := c.mirrorOf(rel.Record, columns, nil)
	if err != nil {
		return nil, fmt.Errorf("aside: table %s: %w", rel.Name, err)
	}
	c.mirror = mirror
	c.fingerprint = fingerprintOf(rel)
	return c, c.selfTest(rel)
}

// exactness tells whether a type must be stored as its driver.Value, and refuses what could not be stored exactly.
func exactness(t reflect.Type) (foreign bool, err error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == reflect.TypeFor[time.Time]() || t.PkgPath() == "database/sql" {
		return false, nil
	}
	p := reflect.PointerTo(t)
	switch {
	case p.Implements(reflect.TypeFor[cbor.Marshaler]()) && p.Implements(reflect.TypeFor[cbor.Unmarshaler]()),
		p.Implements(reflect.TypeFor[encoding.BinaryMarshaler]()) && p.Implements(reflect.TypeFor[encoding.BinaryUnmarshaler]()),
		p.Implements(reflect.TypeFor[encoding.TextMarshaler]()) && p.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()):
		return false, nil
	case p.Implements(reflect.TypeFor[sql.Scanner]()) && p.Implements(reflect.TypeFor[driver.Valuer]()):
		return true, nil
	}
	switch t.Kind() {
	case reflect.Bool, reflect.String, reflect.Float32, reflect.Float64,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return false, nil
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return false, nil
		}
	}
	return false, fmt.Errorf("a %s cannot be stored exactly: it is no basic type and has no marshalling", t)
}

// mirrorOf builds the type of the same layout. Embedded structs become fields of their own, whose columns follow inside.
func (c *codec) mirrorOf(t reflect.Type, columns map[string]*model.Column, path []int) (reflect.Type, error) {
	fields := make([]reflect.StructField, t.NumField())
	for i := range fields {
		f := t.Field(i)
		at := append(append([]int(nil), path...), i)
		m := reflect.StructField{Name: fmt.Sprintf("F%d", i), Type: f.Type, Tag: `cbor:"-"`}
		switch col := columns[fmt.Sprint(at)]; {
		case col != nil && !c.isForeign(col.Name):
			m.Tag = reflect.StructTag(fmt.Sprintf("cbor:%q", col.Name))
		case col == nil && f.Anonymous && f.Type.Kind() == reflect.Struct && f.Tag.Get("db") != "-":
			inner, err := c.mirrorOf(f.Type, columns, at)
			if err != nil {
				return nil, err
			}
			m.Type, m.Tag = inner, reflect.StructTag(fmt.Sprintf("cbor:%q", "."+f.Name))
		}
		fields[i] = m
	}
	mirror := reflect.StructOf(fields)
	if mirror.Size() != t.Size() || mirror.Align() != t.Align() {
		return nil, fmt.Errorf("%s has a layout that cannot be mirrored", t)
	}
	for i := range fields {
		if mirror.Field(i).Offset != t.Field(i).Offset {
			return nil, fmt.Errorf("%s has a layout that cannot be mirrored", t)
		}
	}
	return mirror, nil
}

func (c *codec) isForeign(column string) bool {
	for _, f := range c.foreign {
		if f.name == column {
			return true
		}
	}
	return false
}

// view is rec, a pointer to a record, as a pointer to the mirror type.
func (c *codec) view(rec any) any {
	return reflect.NewAt(c.mirror, unsafe.Pointer(reflect.ValueOf(rec).Pointer())).Interface()
}

// encode returns the payload of rec, a pointer to a record.
func (c *codec) encode(rec any) ([]byte, error) {
	b, err := encMode.Marshal(c.view(rec))
	if err != nil || len(c.foreign) == 0 {
		return b, err
	}
	values := make([]any, len(c.foreign))
	for i, f := range c.foreign {
		v := reflect.ValueOf(rec).Elem().FieldByIndex(f.path)
		if v.Kind() == reflect.Pointer && v.IsNil() {
			continue
		}
		valuer, ok := v.Interface().(driver.Valuer)
		if !ok {
			valuer = v.Addr().Interface().(driver.Valuer)
		}
		x, err := valuer.Value()
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", f.name, err)
		}
		if !driver.IsValue(x) {
			return nil, fmt.Errorf("column %s: its Value is a %T", f.name, x)
		}
		if t, ok := x.(time.Time); ok {
			x = cbor.Tag{Number: 0, Content: t.UTC().Format(time.RFC3339Nano)}
		}
		values[i] = x
	}
	tail, err := encMode.Marshal(values)
	return append(b, tail...), err
}

// decode fills rec, a pointer to a zero record, from a payload. Nothing in rec refers to the payload's memory.
func (c *codec) decode(payload []byte, rec any) error {
	rest, err := decMode.UnmarshalFirst(payload, c.view(rec))
	if err != nil {
		return err
	}
	if len(c.foreign) == 0 {
		if len(rest) > 0 {
			return errDamaged
		}
		return nil
	}
	var values []any
	if err := decMode.Unmarshal(rest, &values); err != nil {
		return err
	}
	if len(values) != len(c.foreign) {
		return errDamaged
	}
	for i, f := range c.foreign {
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

// roundTrips tells whether what a reader would get from payload equals rec, to the last bit of every field that a column
// fills.
func (c *codec) roundTrips(rel *model.Relation, rec any, payload []byte) bool {
	back := reflect.New(rel.Record)
	if c.decode(payload, back.Interface()) != nil {
		return false
	}
	return reflect.DeepEqual(reflect.ValueOf(rec).Elem().Interface(), back.Elem().Interface())
}

// selfTest encodes an empty record. Types that need a value to be encoded at all are left to the check of the first fills.
func (c *codec) selfTest(rel *model.Relation) error {
	if len(c.foreign) > 0 {
		return nil
	}
	zero := reflect.New(rel.Record).Interface()
	payload, err := c.encode(zero)
	if err != nil {
		return fmt.Errorf("aside: table %s: records cannot be encoded: %w", rel.Name, err)
	}
	if !c.roundTrips(rel, zero, payload) {
		return fmt.Errorf("aside: table %s: records do not survive encoding", rel.Name)
	}
	return nil
}

func fingerprintOf(rel *model.Relation) uint64 {
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", codecVersion)
	for _, c := range rel.Columns {
		fmt.Fprintf(h, "%s %s %s %d\n", c.Name, c.Type, c.Type.Kind(), c.Type.Size())
	}
	return binary.BigEndian.Uint64(h.Sum(nil))
}

package model

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// SQLText is how PostgreSQL writes the value as a text: 42, true, \x00ff. null: there is none.
func (d Datum) SQLText() (text string, null bool) {
	switch d.Kind {
	case Null:
		return "", true
	case Bytes:
		return `\x` + hex.EncodeToString([]byte(d.Text)), false
	}
	return d.String(), false
}

// ImageColumns are the names of the columns that an image has, in its order.
func (r *Relation) ImageColumns() []string {
	names := make([]string, len(r.Images))
	for i, c := range r.Images {
		names[i] = r.Columns[c].Name
	}
	return names
}

// ImageOfTexts makes an image of what columns hold, as PostgreSQL writes values as texts (bytea as \x00ff); nil is NULL.
// Columns that an image does not have are passed over. missing are those that it has and that were not given: the image
// has NULL there, and says nothing of an index on them.
//
// The text goes the way that a driver's answer goes, into the field's type and through its Scanner, so that an image of
// texts equals the image of the record. The error names the column, not the value.
func (r *Relation) ImageOfTexts(columns []string, texts []*string) (img Image, missing []string, err error) {
	if len(columns) != len(texts) {
		return nil, nil, r.errorf("%d values for %d columns", len(texts), len(columns))
	}
	img = make(Image, len(r.Images))
	for i, at := range r.Images {
		c := &r.Columns[at]
		given := false
		for j, name := range columns {
			if name != c.Name {
				continue
			}
			given = true
			if texts[j] == nil {
				break
			}
			if img[i], err = datumOfText(c.Type, *texts[j]); err != nil {
				return nil, nil, r.errorf("column %s: a text does not become %s: %w", c.Name, c.Type, discreet(err))
			}
			break
		}
		if !given {
			missing = append(missing, c.Name)
		}
	}
	return img, missing, nil
}

// discreet leaves the value out of an error of strconv.
func discreet(err error) error {
	if e, ok := err.(*strconv.NumError); ok {
		return e.Err
	}
	return err
}

// datumOfText converts a text to what a field of type t holds after its column was scanned into it.
func datumOfText(t reflect.Type, text string) (Datum, error) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(scannerType) {
		return datumOfScanned(t, text)
	}
	v := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, t.Bits())
		if err != nil {
			return Datum{}, err
		}
		v.SetInt(n)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := strconv.ParseUint(text, 10, t.Bits())
		if err != nil {
			return Datum{}, err
		}
		v.SetUint(n)
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return Datum{}, err
		}
		v.SetBool(b)
	case reflect.String:
		v.SetString(text)
	case reflect.Slice: // of bytes: others cannot be scanned
		v.SetBytes(bytesOfText(text))
	default:
		return Datum{}, fmt.Errorf("a %s cannot be a key", t)
	}
	return DatumOf(v.Interface()) // t may have a Value method
}

// datumOfScanned lets a Scanner have what a driver would give it. Which of the driver's types that is the column alone knows;
// the field's zero value tells as much as we need: a type whose values become integers takes integers.
func datumOfScanned(t reflect.Type, text string) (Datum, error) {
	var first error
	for _, v := range candidates(t, text) {
		field := reflect.New(t)
		if err := field.Interface().(sql.Scanner).Scan(v); err != nil {
			if first == nil {
				first = err
			}
			continue
		}
		d, err := DatumOf(field.Elem().Interface())
		if err == nil && d.Kind != Null {
			return d, nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = fmt.Errorf("it becomes NULL")
	}
	return Datum{}, first
}

// candidates are the values to try, the likeliest first.
func candidates(t reflect.Type, text string) (values []any) {
	defer func() {
		_ = recover() // a Value method that expects more than zero
		values = append(values, text, []byte(text))
	}()
	kind, err := DatumOf(reflect.Zero(plain(t)).Interface())
	if err != nil {
		return nil
	}
	switch kind.Kind {
	case Int:
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return []any{n}
		}
	case Bool:
		if b, err := strconv.ParseBool(text); err == nil {
			return []any{b}
		}
	case Bytes, Null: // a slice of bytes that is nil is NULL
		if strings.HasPrefix(text, `\x`) {
			return []any{bytesOfText(text)}
		}
	}
	return nil
}

// bytesOfText reads a bytea. What does not look like one is a text that a field of bytes holds.
func bytesOfText(text string) []byte {
	if digits, ok := strings.CutPrefix(text, `\x`); ok {
		if b, err := hex.DecodeString(digits); err == nil {
			return b
		}
	}
	return []byte(text)
}

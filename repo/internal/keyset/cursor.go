// Package keyset has what every repository's pages have in common: limits and cursors.
package keyset

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"time"

	"github.com/asidego/aside/model"
)

// ErrCursor matches the error for a cursor that is damaged or belongs to another list.
var ErrCursor = errors.New("invalid cursor")

const (
	defaultLimit = 50
	maxLimit     = 1000
)

// Limit returns the number of rows of a page for what the caller asked for.
func Limit(asked int) (int, error) {
	switch {
	case asked == 0:
		return defaultLimit, nil
	case asked < 0 || asked > maxLimit:
		return 0, fmt.Errorf("limit %d is not between 1 and %d", asked, maxLimit)
	}
	return asked, nil
}

// A cursor is, in base64 for URLs:
//
//	version (1) | list (8) | values, one for each column of the order | CRC-32C of all before (4)
//
// list is a hash of what the cursor belongs to. A value is its kind and then its bytes.
const (
	version  = 1
	listSize = 8
	header   = 1 + listSize
	trailer  = 4
)

const (
	kindInt byte = iota + 1
	kindFloat
	kindBool
	kindBytes
	kindText
	kindTime
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	encoding   = base64.RawURLEncoding.Strict()
)

// Encode returns the cursor that stands after the row whose order columns have these values.
func Encode(list model.Place, after []driver.Value) (string, error) {
	hash, err := listOf(list)
	if err != nil {
		return "", err
	}
	b := append([]byte{version}, hash[:]...)
	for i, v := range after {
		if b, err = appendValue(b, v); err != nil {
			column := list.Relation.Columns[list.Access.Order[i].Column].Name
			return "", fmt.Errorf("column %s cannot order pages: %w", column, err)
		}
	}
	return encoding.EncodeToString(appendSum(b)), nil
}

func appendSum(b []byte) []byte {
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// Decode returns the values that the cursor stands after. Its error matches ErrCursor.
func Decode(cursor string, list model.Place) ([]driver.Value, error) {
	b, err := encoding.DecodeString(cursor)
	if err != nil || len(b) < header+trailer {
		return nil, fmt.Errorf("%w: it is damaged", ErrCursor)
	}
	body, sum := b[:len(b)-trailer], binary.BigEndian.Uint32(b[len(b)-trailer:])
	if crc32.Checksum(body, castagnoli) != sum {
		return nil, fmt.Errorf("%w: it is damaged", ErrCursor)
	}
	if body[0] != version {
		return nil, fmt.Errorf("%w: its version is %d, not %d", ErrCursor, body[0], version)
	}
	hash, err := listOf(list)
	if err != nil {
		return nil, err
	}
	if [listSize]byte(body[1:header]) != hash {
		return nil, fmt.Errorf("%w: it belongs to another index, order or value", ErrCursor)
	}
	values := make([]driver.Value, 0, len(list.Access.Order))
	for rest := body[header:]; len(rest) > 0; {
		var v driver.Value
		if v, rest, err = cutValue(rest); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrCursor, err)
		}
		values = append(values, v)
	}
	if len(values) != len(list.Access.Order) {
		return nil, fmt.Errorf("%w: it is damaged", ErrCursor)
	}
	return values, nil
}

// listOf hashes table, index, order and value. The types of the order's columns are part of it: after a deploy that
// changed one, a value of the old type would be compared with a column of the new.
func listOf(list model.Place) ([listSize]byte, error) {
	data, err := list.Data(nil)
	if err != nil {
		return [listSize]byte{}, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", list.Relation.Name, list.Access.Name)
	for _, o := range list.Access.Order {
		c := &list.Relation.Columns[o.Column]
		fmt.Fprintf(h, " %q %q %t", c.Name, c.Type.String(), o.Desc)
	}
	for _, d := range data {
		fmt.Fprintf(h, " %d %d %q", d.Kind, d.Int, d.Text)
	}
	return [listSize]byte(h.Sum(nil)), nil
}

func appendValue(b []byte, v driver.Value) ([]byte, error) {
	switch v := v.(type) {
	case int64:
		return binary.AppendVarint(append(b, kindInt), v), nil
	case float64:
		return binary.BigEndian.AppendUint64(append(b, kindFloat), math.Float64bits(v)), nil
	case bool:
		if v {
			return append(b, kindBool, 1), nil
		}
		return append(b, kindBool, 0), nil
	case []byte:
		return append(binary.AppendUvarint(append(b, kindBytes), uint64(len(v))), v...), nil
	case string:
		return append(binary.AppendUvarint(append(b, kindText), uint64(len(v))), v...), nil
	case time.Time:
		b = binary.AppendVarint(append(b, kindTime), v.Unix())
		return binary.AppendUvarint(b, uint64(v.Nanosecond())), nil
	case nil:
		return nil, errors.New("it is NULL")
	}
	return nil, fmt.Errorf("%T is no value of a driver", v)
}

var errDamaged = errors.New("it is damaged")

// PostgreSQL's own range of timestamps, in seconds since 1970.
const minTime, maxTime = -210866803200, 9224318016000

// cutValue reads one value and returns what follows it.
func cutValue(b []byte) (driver.Value, []byte, error) {
	kind, b := b[0], b[1:]
	switch kind {
	case kindInt:
		if v, n := binary.Varint(b); n > 0 {
			return v, b[n:], nil
		}
	case kindFloat:
		if len(b) >= 8 {
			return math.Float64frombits(binary.BigEndian.Uint64(b)), b[8:], nil
		}
	case kindBool:
		if len(b) >= 1 && b[0] <= 1 {
			return b[0] == 1, b[1:], nil
		}
	case kindBytes, kindText:
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			break
		}
		v := b[n : n+int(size)]
		if kind == kindText {
			return string(v), b[n+int(size):], nil
		}
		return v, b[n+int(size):], nil
	case kindTime:
		sec, n := binary.Varint(b)
		if n <= 0 || sec < minTime || sec > maxTime {
			break
		}
		nsec, m := binary.Uvarint(b[n:])
		if m <= 0 || nsec >= uint64(time.Second) {
			break
		}
		return time.Unix(sec, int64(nsec)).UTC(), b[n+m:], nil
	}
	return nil, nil, errDamaged
}

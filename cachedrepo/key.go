package cachedrepo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"

	"github.com/asidego/aside/model"
)

// Keys are namespace:table:index:value[:value...]. The encoding is injective, so that two rows never share a key, and it
// is the only one: whoever invalidates and whoever reads must arrive at the same bytes.
//
// Integers and booleans are decimal digits, true and false; bytes are hexadecimal; texts stand as they are but for
// controls, blanks and the characters : % # { }, which become %XX. (Braces would choose the slot in a Redis Cluster.) A
// value whose encoding is longer than longValue bytes is replaced by # and its SHA-256: an unescaped # starts nothing else.
// A value of a sensitive column is replaced by #~ and an HMAC-SHA-256 of itself and what stands before it, under Config.Secret: who reads
// key names, the slow log or MONITOR can neither see nor try out whose row it is.
const longValue = 128

var namespacePattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

func checkNamespace(ns string) error {
	if !namespacePattern.MatchString(ns) {
		return fmt.Errorf("aside: Config.Namespace is %q: 1 to 64 letters, digits and _.- are needed", ns)
	}
	return nil
}

// keyPrefix is the part of the keys of one index that does not depend on the value.
func keyPrefix(ns string, a *model.Access) string {
	b := escapeText([]byte(tablePrefix(ns, a.Relation())), a.Name)
	return string(append(b, ':'))
}

// tablePrefix is what all keys of a table have in common.
func tablePrefix(ns string, rel *model.Relation) string {
	return string(append(escapeText([]byte(ns+":"), rel.Name), ':'))
}

// appendKey appends the values of one row to a prefix. No value may be NULL: nothing is found by NULL.
func appendKey(b []byte, data []model.Datum) []byte {
	for i, d := range data {
		if i > 0 {
			b = append(b, ':')
		}
		start := len(b)
		switch d.Kind {
		case model.Int:
			b = strconv.AppendInt(b, d.Int, 10)
		case model.Bool:
			b = strconv.AppendBool(b, d.Int == 1)
		case model.Bytes:
			if len(d.Text) > longValue/2 {
				b = appendHash(b, d.Text)
				continue
			}
			b = hex.AppendEncode(b, []byte(d.Text))
		default:
			if len(d.Text) > longValue {
				b = appendHash(b, d.Text)
				continue
			}
			if b = escapeText(b, d.Text); len(b)-start > longValue {
				b = appendHash(b[:start], d.Text)
			}
		}
	}
	return b
}

// minSecret is the shortest key of the HMAC: 128 bits.
const minSecret = 16

// appendHashedKey is appendKey with the values that are hashed replaced.
func appendHashedKey(b []byte, data []model.Datum, hashed []bool, secret []byte) []byte {
	for i, d := range data {
		if i > 0 {
			b = append(b, ':')
		}
		if !hashed[i] {
			b = appendKey(b, data[i:i+1])
			continue
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write(b) // of two columns with the same value nobody can tell that it is the same
		mac.Write([]byte{byte(d.Kind)})
		mac.Write(appendKey(nil, data[i:i+1]))
		b = hex.AppendEncode(append(b, '#', '~'), mac.Sum(nil))
	}
	return b
}

func appendHash(b []byte, s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return hex.AppendEncode(append(b, '#'), sum[:])
}

func escapeText(b []byte, s string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ', c == 0x7f, c == ':', c == '%', c == '#', c == '{', c == '}':
			b = append(b, '%', digits[c>>4], digits[c&15])
		default:
			b = append(b, c)
		}
	}
	return b
}

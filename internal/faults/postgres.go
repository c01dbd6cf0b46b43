package faults

import (
	"encoding/binary"
	"strings"
)

// splitter returns the size of the first piece of b that hooks shall see, 0 if
// more bytes are needed.
type splitter func(b []byte) int

func wholeReads(b []byte) int { return len(b) }

// postgresMessages splits what a PostgreSQL client sends. All messages are a
// type byte, a length that counts itself, and a body; except the first, the
// startup packet (or a cancel request), which has no type byte.
type postgresMessages struct {
	started bool
}

const lengthSize = 4

func (m *postgresMessages) split(b []byte) int {
	header := 0
	if m.started {
		header = 1
	}
	if len(b) < header+lengthSize {
		return 0
	}
	size := header + int(binary.BigEndian.Uint32(b[header:]))
	if size < header+lengthSize {
		return len(b) // not the protocol; nothing to recognise
	}
	if len(b) < size {
		return 0
	}
	m.started = true
	return size
}

// QueryText returns the SQL of a message that a PostgreSQL client sent: of a
// simple query ('Q', what both lib/pq and pgx send for BEGIN, COMMIT and
// ROLLBACK) or of a statement being prepared ('P', what carries arguments).
func QueryText(message []byte) (sql string, ok bool) {
	if len(message) < 1+lengthSize {
		return "", false
	}
	body := string(message[1+lengthSize:])
	switch message[0] {
	case 'P': // name, text, parameter types
		_, body, ok = strings.Cut(body, "\x00")
		if !ok {
			return "", false
		}
	case 'Q':
	default:
		return "", false
	}
	sql, _, ok = strings.Cut(body, "\x00")
	return sql, ok
}

// IsQuery tells whether a client's message is a simple query of this text;
// letter case, surrounding space and a final semicolon do not count.
func IsQuery(message []byte, text string) bool {
	sql, ok := QueryText(message)
	return ok && message[0] == 'Q' && strings.EqualFold(strings.TrimRight(strings.TrimSpace(sql), "; "), text)
}

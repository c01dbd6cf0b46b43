package redisstore

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unsafe"

	"github.com/asidego/aside/cachedrepo/store"
)

// A key is one Redis string: kind, format, payload. Kind and format stand ahead of everything, so no value of a user can
// imitate a lease. The bytes are pinned by a test; a change of format needs a new namespace above, because two versions
// of an app that do not read each other's tokens would end each other's.
//
//	V1 value
//	L1 token
//	I1 (token, deadline)...          deadline: 8 bytes, big endian, milliseconds since 1970
//	G1 nonce (token, deadline)...
//
// What is none of these is a foreign value: a neighbour's key, a hash, damage, a later format. It is answered as a Value
// without bytes, which no reader can use and which AcquireOver with an empty value takes over, so it never blocks a key;
// to a generation's operations it is absent. Raw bytes are not handed out: they might pass for a payload.
const (
	headValue      = "V1"
	headLease      = "L1"
	headIntent     = "I1"
	headGeneration = "G1"

	tokenLen  = len(store.Token{})
	writerLen = tokenLen + 8
)

func leaseBytes(t store.Token) []byte {
	return append([]byte(headLease), t[:]...)
}

// decode is the reply to Get for what a key holds. Only the server's clock may say that a token has ended, so decode
// counts every token as live; but over says that by the local clock all of them have ended, and that it is worth asking
// the server, whose answer removes them. Otherwise a key whose tokens carry no Redis expiry would stay uncached for ever.
func decode(raw string, ms int64) (r store.Reply, over bool) {
	if len(raw) >= 2 {
		head, payload := raw[:2], raw[2:]
		switch {
		case head == headValue:
			return store.Reply{State: store.Value, Value: bytesOf(payload)}, false
		case head == headLease && len(payload) == tokenLen:
			return store.Reply{State: store.Lease, Token: tokenOf(payload)}, false
		case head == headIntent && len(payload) > 0 && len(payload)%writerLen == 0:
			return store.Reply{State: store.Intent}, allOver(payload, ms)
		case head == headGeneration && len(payload) >= tokenLen && (len(payload)-tokenLen)%writerLen == 0:
			writers := payload[tokenLen:]
			held := len(writers) > 0
			return store.Reply{State: store.Generation, Token: tokenOf(payload), Held: held}, held && allOver(writers, ms)
		}
	}
	return foreign(), false
}

func foreign() store.Reply { return store.Reply{State: store.Value, Value: []byte{}} }

func allOver(writers string, ms int64) bool {
	for ; len(writers) > 0; writers = writers[writerLen:] {
		if int64(binary.BigEndian.Uint64([]byte(writers[tokenLen:writerLen]))) > ms {
			return false
		}
	}
	return true
}

func tokenOf(s string) (t store.Token) {
	copy(t[:], s)
	return t
}

// Flags of the script's replies.
const (
	flagLost = 1 << iota
	flagRefused
	flagHeld
)

// scriptReply reads one string of the script's answer: two digits and a payload.
func scriptReply(v any, kind store.OpKind) (r store.Reply, err error) {
	s, ok := v.(string)
	if !ok || len(s) < 2 || s[0] < '0' || s[0] > '4' || s[1] < '0' || s[1] > '7' {
		return r, fmt.Errorf("script answered %.40q", fmt.Sprint(v))
	}
	r.State = store.State(s[0] - '0')
	flags := s[1] - '0'
	r.Lost, r.Refused, r.Held = flags&flagLost != 0, flags&flagRefused != 0, flags&flagHeld != 0
	switch payload := s[2:]; r.State {
	case store.Lease, store.Generation:
		r.Token = tokenOf(payload)
	case store.Value:
		if kind <= store.AcquireOver {
			r.Value = bytesOf(payload)
		}
	}
	return r, nil
}

// bytesOf shares the memory of a reply, which nobody changes: the client made the string for us, and Reply.Value is
// read-only.
func bytesOf(s string) []byte {
	if s == "" {
		return []byte{}
	}
	return unsafe.Slice(unsafe.StringData(s), len(s))
}

// is reports an error of the server that begins with code.
func is(err error, code string) bool {
	return strings.HasPrefix(serverError(err), code)
}

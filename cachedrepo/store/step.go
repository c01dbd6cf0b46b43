package store

import (
	"bytes"
	"crypto/sha1"
	"slices"
	"strconv"
	"time"
)

// Entry is what one key holds. The zero Entry is an absent key. Entries that Step returns are in canonical form: what a
// state does not use is zero, and Writers is sorted, so that two stores agree exactly when their entries are Equal.
type Entry struct {
	State State
	// Token is the holder of a Lease, or the nonce of a Generation.
	Token Token
	// Value is the bytes of a Value. Step stores what Op.Value points to and never changes it.
	Value []byte
	// Expires is the moment at which the key is gone, in milliseconds since 1970. For an Intent it is the latest deadline of
	// its writers, for a Generation never earlier than that.
	Expires int64
	// Writers are the live tokens of an Intent or a Generation, by ascending token.
	Writers []Writer
}

// Writer is the token of one transaction and the moment at which it stops counting, in milliseconds since 1970. Deadlines
// are per token: with one for the whole set the token of a dead writer would live as long as new writers keep coming.
type Writer struct {
	Token    Token
	Deadline int64
}

// Equal reports whether two entries in canonical form are the same.
func (e Entry) Equal(o Entry) bool {
	return e.State == o.State && e.Token == o.Token && e.Expires == o.Expires &&
		bytes.Equal(e.Value, o.Value) && slices.Equal(e.Writers, o.Writers)
}

// Step is the protocol: what op makes of e at the moment now of the server's clock, and what it answers. It is pure, it
// is defined for every entry and operation, and it shares e.Value and op.Value with its result but changes neither.
//
// No two operations on a key may have the same now, to the microsecond: it is what makes a repeated operation's nonce a
// new one. A store counts the operations of one call as a microsecond apart.
//
// An operation first drops what is past its deadline: a deadline is the first moment that it does not cover any more.
// An operation on the wrong kind of key (a generation's on an entry, an entry's on a generation) changes nothing and
// answers what is there; nobody can tell which of the two callers is mistaken.
func Step(e Entry, op Op, now time.Time) (Entry, Reply) {
	ms := now.UnixMilli()
	e = e.live(ms)
	if op.Kind >= Stamps {
		return stepGeneration(e, op, now)
	}
	return stepEntry(e, op, ms)
}

func stepEntry(e Entry, op Op, ms int64) (Entry, Reply) {
	if e.State == Generation {
		return e, e.reply(op.Kind, op.Kind == Release, op.Kind == Fill)
	}
	expires := ms + op.Millis()
	var lost, refused bool
	switch op.Kind {
	case Acquire:
		if e.State == Absent {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}
		// Lease(x) with x == op.Token is the caller's own lease, granted by a command whose reply was lost. It is not made
		// longer: then a lease could outlive the load that it was made for by as many retries as there are.

	case AcquireOver:
		// Invalidate and Acquire in one step. Only the bytes that the caller saw: a value filled since may be one that it can
		// use, and two versions of an app would otherwise take each other's fresh values away for ever.
		if e.State == Absent || e.State == Value && bytes.Equal(e.Value, op.Value) {
			e = Entry{State: Lease, Token: op.Token, Expires: expires}
		}

	case Fill:
		switch {
		case e.State == Lease && e.Token == op.Token:
			e = Entry{State: Value, Value: op.Value, Expires: expires}
		case e.State == Value && bytes.Equal(e.Value, op.Value):
			// The caller's own fill, repeated by its client, or another reader's of the same row.
		default:
			refused = true
		}

	case Abandon:
		if e.State == Lease && e.Token == op.Token {
			e = Entry{}
		}

	case Intend:
		e = Entry{State: Intent, Writers: with(e.Writers, op.Token, expires)}
		e.Expires = e.lastDeadline()

	case Release:
		var found bool
		switch e.State {
		case Value, Lease:
			// The token was lost (evicted, expired), and a reader may have loaded the old row since: end it.
			e = Entry{}
		case Intent:
			if e.Writers, found = without(e.Writers, op.Token); len(e.Writers) == 0 {
				e = Entry{}
			} else {
				e.Expires = e.lastDeadline()
			}
		}
		lost = !found

	case Invalidate:
		// An Intent stays: the tokens in it are other writers', who have not committed yet (protocol, history 12).
		if e.State == Value || e.State == Lease {
			e = Entry{}
		}
	}
	return e, e.reply(op.Kind, lost, refused)
}

// stepGeneration keeps a generation from ever returning to an earlier nonce, even if a client repeats a command whose
// reply was lost. Had the caller brought the nonce along, this history would break P1:
//
//	writer A: bump(n1) runs, its reply is lost
//	reader:   reads stamp n1, loads, fills (old, n1)
//	writer B: commits, bump(n2) runs, returns; the entry of the reader is worthless
//	client:   repeats A's bump(n1): the generation is n1 again, and (old, n1) a hit
//
// The same holds for a repeated Stamps, which would bring back the generation that it once created, and for Enter. So
// the server derives the nonce, and the result depends on where and when the operation runs.
func stepGeneration(e Entry, op Op, now time.Time) (Entry, Reply) {
	if e.State != Absent && e.State != Generation {
		return e, e.reply(op.Kind, op.Kind == Leave, false)
	}
	expires := now.UnixMilli() + op.Millis()
	var lost bool
	switch op.Kind {
	case Stamps:
		if e.State == Absent {
			e = Entry{State: Generation, Token: nonce(op.Token, Token{}, now)}
		}
		e.Expires = max(e.Expires, expires) // a generation in use does not die and take its lists with it

	case Bump:
		e = e.end(op.Token, now)

	case Enter:
		e = Entry{
			State: Generation, Token: nonce(op.Token, e.Token, now),
			Writers: with(e.Writers, op.Token, expires), Expires: max(e.Expires, expires),
		}
		e.Expires = max(e.Expires, e.lastDeadline())

	case Leave:
		var found bool
		if e.Writers, found = without(e.Writers, op.Token); !found {
			// Between the token's end and now readers may have taken this nonce for the state before the commit.
			e, lost = e.end(op.Token, now), true
		}
	}
	return e, e.reply(op.Kind, lost, false)
}

// end makes the nonce of a generation worthless. Without tokens to keep, the key goes altogether: absent and created
// again never equals an old nonce, and a bulk import need not leave a key per value behind.
func (e Entry) end(salt Token, now time.Time) Entry {
	if len(e.Writers) == 0 {
		return Entry{}
	}
	e.Token = nonce(salt, e.Token, now)
	return e
}

// nonce is the first half of SHA-1(salt, old, seconds "." microseconds). SHA-1, because Redis has it in its scripts; no
// secret depends on it. The old nonce makes a repeat differ while the generation lives, the clock when it was gone in
// between; a clock set back would have to hit the very microsecond with the very token.
func nonce(salt, old Token, now time.Time) (t Token) {
	us := now.UnixMicro()
	b := make([]byte, 0, 64)
	b = append(append(b, salt[:]...), old[:]...)
	b = append(strconv.AppendInt(b, us/1e6, 10), '.')
	b = strconv.AppendInt(b, us%1e6, 10)
	sum := sha1.Sum(b)
	copy(t[:], sum[:])
	return t
}

// live is e without what is past its deadline.
func (e Entry) live(ms int64) Entry {
	if e.State == Absent || e.Expires <= ms {
		return Entry{}
	}
	dead := func(w Writer) bool { return w.Deadline <= ms }
	if slices.ContainsFunc(e.Writers, dead) {
		e.Writers = canonical(slices.DeleteFunc(slices.Clone(e.Writers), dead))
	}
	if e.State == Intent && len(e.Writers) == 0 {
		return Entry{}
	}
	return e
}

func (e Entry) lastDeadline() (ms int64) {
	for _, w := range e.Writers {
		ms = max(ms, w.Deadline)
	}
	return ms
}

func (e Entry) reply(kind OpKind, lost, refused bool) Reply {
	r := Reply{State: e.State, Token: e.Token, Lost: lost, Refused: refused}
	r.Held = e.State == Generation && len(e.Writers) > 0
	if kind <= AcquireOver {
		r.Value = e.Value
	}
	return r
}

// with adds a token or moves its deadline, never to an earlier moment: a repeated command that arrives late must not
// take back a renewal.
func with(ws []Writer, t Token, deadline int64) []Writer {
	i, found := slices.BinarySearchFunc(ws, t, byToken)
	ws = slices.Clone(ws)
	if found {
		ws[i].Deadline = max(ws[i].Deadline, deadline)
		return ws
	}
	return slices.Insert(ws, i, Writer{t, deadline})
}

func without(ws []Writer, t Token) ([]Writer, bool) {
	i, found := slices.BinarySearchFunc(ws, t, byToken)
	if !found {
		return ws, false
	}
	return canonical(slices.Delete(slices.Clone(ws), i, i+1)), true
}

func byToken(w Writer, t Token) int { return bytes.Compare(w.Token[:], t[:]) }

func canonical(ws []Writer) []Writer {
	if len(ws) == 0 {
		return nil
	}
	return ws
}

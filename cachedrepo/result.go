package cachedrepo

import (
	"reflect"
	"sync/atomic"
)

// result is what a load came to. Several callers may read it; each gets a record that shares no memory with another's.
type result struct {
	rec     any     // pointer to the record; nil if there is none
	payload []byte  // rec, encoded; nil if it could not be
	err     error   // of the load, "not found" included
	absence absence // what err is to the view whose load it was

	taken atomic.Bool // rec itself has been given away
}

func (r *result) set(o *result) {
	r.rec, r.payload, r.err, r.absence = o.rec, o.payload, o.err, o.absence
}

// into writes the record to dst, a pointer to a zero record. The first caller gets the record as it was loaded, the
// others decode their own copy, unless the type has no memory that one could change for another.
func (r *result) into(t *table, dst any) error {
	if r.err != nil {
		return r.err
	}
	if t.rel.Immutable || r.taken.CompareAndSwap(false, true) {
		reflect.ValueOf(dst).Elem().Set(reflect.ValueOf(r.rec).Elem())
		return nil
	}
	if r.payload == nil || t.codec.decode(r.payload, dst) != nil {
		reflect.ValueOf(dst).Elem().SetZero()
		return errOwnOnly
	}
	return nil
}

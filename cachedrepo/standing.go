package cachedrepo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/asidego/aside/model"
)

// standing is what the registry says of one access.
type standing struct {
	maintain bool   // somebody who lives does not invalidate it
	epoch    uint64 // of entries
	lacks    string // who it was, for the log
}

// standingOf is a pure function of the registry's rows, so that all processes agree. Every row counts, also of those that
// have gone:
//
//   - if one that lives lacks the access, it is maintained;
//   - the epoch changes with the latest that ever lacked it. It is made of that one's serial and process: should the
//     database lose registrations in a failover and give the same serial once more, it is not the same epoch.
//
// While the access is maintained the epoch is odd, and even when it is served again. A read that began before this process
// heard of the other may still be under way, ask for a lease and fill: the other may have written since, without
// invalidating. What is filled in an odd epoch is never used when the access is served.
func standingOf(all []registrant, access string) standing {
	var s standing
	var last *registrant
	for i := range all {
		o := &all[i]
		if o.declares[access] {
			continue
		}
		if last == nil || o.serial > last.serial {
			last = o
		}
		if !o.gone {
			s.maintain, s.lacks = true, o.label
		}
	}
	if last != nil {
		h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(last.process), uint64(last.serial)))
		s.epoch = binary.BigEndian.Uint64(h[:]) &^ 1
	}
	if s.maintain {
		s.epoch |= 1
	}
	return s
}

// noticedWithin is how long it takes until all who live and serve something that this process lacks have noticed it, from
// when its own row was there.
func noticedWithin(all []registrant, process string, declares []string) (d time.Duration) {
	for _, o := range all {
		if o.gone || o.process == process {
			continue
		}
		for name := range o.declares {
			if !slices.Contains(declares, name) {
				d = max(d, o.stopsAfter)
				break
			}
		}
	}
	return d
}

// stand makes the registry's word count. Who reads after unserved was cleared must see the epoch that goes with it.
func (a *access) stand(rt *runtime, s standing) {
	was := a.unserved.Load()&unservedRegistry != 0
	if s.maintain {
		a.unserve(unservedRegistry, true)
	}
	a.registered.Store(s.epoch)
	if !s.maintain {
		a.unserve(unservedRegistry, false)
	}
	switch {
	case s.maintain && (!was || a.lacked != s.lacks):
		rt.cfg.Logger.Warn("aside: an index is not served: another process does not invalidate it", "table", a.table.rel.Name, "index", a.Name, "process", s.lacks)
	case !s.maintain && a.lacked != "":
		rt.cfg.Logger.Info("aside: an index is served again", "table", a.table.rel.Name, "index", a.Name)
	}
	a.lacked = s.lacks
}

// spelling names an access by all that decides how its keys are spelled: two processes that spell them otherwise do not
// invalidate each other's entries, whatever they call the index. (Of a Canonical only that there is one is seen.)
func (a *access) spelling() string {
	rel := a.table.rel
	kind := func(c *model.Column) string {
		k := kindOf(c.Type)
		if c.Canonical != nil {
			k += " canonical"
		}
		if c.Sensitive {
			k += " sensitive"
		}
		return k
	}
	var kinds []string
	for _, c := range a.Columns {
		kinds = append(kinds, kind(&rel.Columns[c]))
	}
	name := rel.Name + "." + a.Name + "(" + strings.Join(kinds, ",") + ")"
	if rel.Scope >= 0 {
		name += " in " + rel.Columns[rel.Scope].Name + "(" + kind(&rel.Columns[rel.Scope]) + ")"
	}
	if a.hashed != nil { // with another secret the hashes are others
		h := hmac.New(sha256.New, a.secret)
		h.Write([]byte("aside: which secret"))
		name += fmt.Sprintf(" secret %x", h.Sum(nil)[:4])
	}
	return name
}

var kindNames = map[model.DatumKind]string{model.Int: "int", model.Bool: "bool", model.Text: "text", model.Bytes: "bytes"}

// kindOf is the kind of Datum that a column's values become, or the type's own name where an empty value does not show it.
func kindOf(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 {
		return kindNames[model.Bytes]
	}
	if d, err := model.DatumOf(reflect.Zero(t).Interface()); err == nil && kindNames[d.Kind] != "" {
		return kindNames[d.Kind]
	}
	if isNull(t) {
		return kindOf(t.Field(0).Type)
	}
	return t.String()
}

package soak

import (
	"fmt"
	"time"
)

// violation is a broken promise.
type violation struct {
	Property string // P0 to P4
	Reg      string
	From, To int64 // the window that shows it
	Text     string
}

func (v violation) String() string { return v.Property + " " + v.Reg + ": " + v.Text }

// promises are what a round is held to.
type promises struct {
	linearizable bool // P3
	// excused: a read of another process may be older than a write whose report said that its invalidation is pending. Not
	// where intents stand.
	excused bool
}

// staleness is what is counted about reads that returned less than was known by then.
type staleness struct {
	Reads   int           // that began after something newer was surely committed
	Longest time.Duration // from that moment to the latest beginning of such a read
}

// returned checks P1: after a write has returned success, no read that begins returns what was before it.
func (h *history) returned(p promises, stale *staleness) (wrong []violation) {
	for reg, reads := range h.reads {
		versions := h.order[reg]
		for _, r := range reads {
			if r.at < 0 {
				continue
			}
			for _, v := range versions[r.at+1:] {
				if v.seen < r.call {
					stale.Reads++
					stale.Longest = max(stale.Longest, time.Duration(r.call-v.seen))
					break
				}
			}
			for _, v := range versions[r.at+1:] {
				if v.outcome != committed || v.ret >= r.call || p.excused && v.pending && v.spawn != r.spawn {
					continue
				}
				wrong = append(wrong, violation{
					Property: "P1", Reg: reg, From: v.call, To: r.ret,
					Text: fmt.Sprintf("%s, %s after %s had returned to its caller", r, time.Duration(r.call-v.ret).Round(time.Microsecond), v.write),
				})
				break
			}
		}
	}
	return wrong
}

// bound is an end of the interval in which a version can have taken effect, and who says so.
type bound struct {
	at  int64
	who string
	was int64 // when who began
}

// explain finds the two who cannot both be right where a register is not linearizable, given the order of commits: the
// version that must have been there by the end of one, and cannot have been at the beginning of the other.
func (h *history) explain(reg string) *violation {
	versions, reads := h.order[reg], h.reads[reg]
	latest := make([]bound, len(versions)) // version i took effect before
	for i := range latest {
		latest[i] = bound{at: never}
		if v := versions[i]; v.write != nil && v.ret < never {
			latest[i] = bound{v.ret, v.write.String(), v.call}
		}
	}
	earliest := make([]bound, len(versions)) // and after
	for i := range earliest {
		earliest[i] = bound{at: -never}
		if v := versions[i]; v.write != nil {
			earliest[i] = bound{v.call, v.write.String(), v.call}
		}
	}
	for _, r := range reads {
		if r.at < 0 {
			continue
		}
		first, last := r.at, r.at // what it can have read: there may have been no row more than once
		for i, v := range versions[:r.at] {
			if v.val == r.val {
				first = i
				break
			}
		}
		if r.ret < latest[first].at {
			latest[first] = bound{r.ret, r.String(), r.call}
		}
		if last+1 < len(versions) && r.call > earliest[last+1].at {
			earliest[last+1] = bound{r.call, r.String(), r.call}
		}
	}
	for i := len(versions) - 2; i >= 0; i-- {
		if latest[i+1].at < latest[i].at {
			latest[i] = latest[i+1]
		}
	}
	var found *violation
	for i := range versions {
		if i > 0 && earliest[i-1].at > earliest[i].at {
			earliest[i] = earliest[i-1]
		}
		if a, b := earliest[i], latest[i]; a.at > b.at && (found == nil || a.at-b.was < found.To-found.From) {
			found = &violation{
				Property: "P3", Reg: reg, From: b.was, To: a.at,
				Text: fmt.Sprintf("%s began %s after %s had ended", a.who, time.Duration(a.at-b.at).Round(time.Microsecond), b.who),
			}
		}
	}
	return found
}

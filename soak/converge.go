package soak

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/asidego/aside/model"
)

// converge checks P2 and P4 when all is quiet: a process that took no part reads every register through the cache until it
// is right and comes from the store. It must be right at once, unless one whose answer is not known wrote it, or one that
// died before its invalidations went out.
func (r *run) converge(h *history, died map[int64]int64, loses bool) (wrong []violation, took time.Duration, err error) {
	began := now()
	left := make(map[string]bool)
	for reg := range h.order {
		for _, v := range h.order[reg] {
			if v.write == nil {
				continue
			}
			_, dead := died[v.spawn]
			left[reg] = left[reg] || v.outcome != committed && v.outcome != rolledBack || v.pending && dead
		}
	}
	limit, promised := r.cfg.Mode.repaired(loses)
	for reg, versions := range h.order {
		if left[reg] && !promised {
			continue
		}
		last := versions[len(versions)-1]
		want, from := last.val, began
		if last.write != nil {
			from = last.call
		}
		for asked := now(); ; {
			got, hit, err := r.audit(reg)
			if err != nil {
				return nil, 0, fmt.Errorf("the auditor reads %s: %w", reg, err)
			}
			waited := since(began)
			if got == want {
				if hit {
					break
				}
				// A lease that a dead reader left, or an intent, is in the way for its time.
				if since(asked) > r.cfg.Mode.cached() {
					wrong = append(wrong, violation{Property: "P4", Reg: reg, From: asked, To: now(), Text: "cannot be cached"})
					break
				}
				continue
			}
			took, asked = waited, now()
			if waited > limit || !left[reg] {
				wrong = append(wrong, violation{
					Property: "P2", Reg: reg, From: from, To: now(),
					Text: fmt.Sprintf("the cache says %s, the database %s, %s after all was quiet", number(got), number(want), waited.Round(time.Millisecond)),
				})
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	return wrong, took, nil
}

// audit reads a register through the cache.
func (r *run) audit(reg string) (val int64, hit bool, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ctx, asked := watchHit(ctx)
	var rec item
	kind, rest, _ := strings.Cut(reg, " ")
	if kind == "id" {
		var id int64
		if _, err := fmt.Sscan(rest, &id); err != nil {
			return 0, false, err
		}
		rec, err = r.auditor.items.Find(ctx, id)
	} else {
		rec, err = r.auditor.items.FindBy(ctx, r.auditor.table.bySKU.Eq(rest))
	}
	if errors.Is(err, model.ErrNotFound) {
		return 0, *asked, nil
	}
	return rec.Val, *asked, err
}

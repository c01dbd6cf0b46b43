package soak

import (
	"context"
	"strings"

	"github.com/asidego/aside/cachedrepo/store"
)

// What can be wrong on purpose: a soak that finds nothing proves something only if it would have found these.
const (
	brokenInvalidate = "invalidate" // invalidations are confirmed and not done
	brokenFill       = "fill"       // fills do not ask whose lease it is
)

// breaker is a store that breaks a rule.
type breaker struct {
	store.Store
	rule string
}

func broken(rule string, s store.Store) store.Store {
	if rule == "" {
		return s
	}
	return breaker{s, rule}
}

func (b breaker) Do(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	switch {
	case b.rule == brokenInvalidate && ops[0].Kind == store.Invalidate && !strings.Contains(ops[0].Key, "~"): // which is nobody's entry
		clear(replies)
		return nil
	case b.rule == brokenFill && ops[0].Kind == store.Fill:
		for _, op := range ops {
			if op.Kind == store.Fill {
				if err := b.force(ctx, op); err != nil {
					return err
				}
			}
		}
	}
	return b.Store.Do(ctx, ops, replies)
}

// force makes the key forget whose lease it is, and takes it.
func (b breaker) force(ctx context.Context, op store.Op) error {
	ops := []store.Op{{Kind: store.Invalidate, Key: op.Key}, {Kind: store.Acquire, Key: op.Key, Token: op.Token, TTL: op.TTL}}
	for i := range ops {
		if err := b.Store.Do(ctx, ops[i:i+1], make([]store.Reply, 1)); err != nil {
			return err
		}
	}
	return nil
}

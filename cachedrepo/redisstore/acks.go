package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
)

// Replication is asynchronous: what a master has confirmed a promoted replica may never have heard of. WAIT, on the same
// connection behind the commands, says how many replicas have it.
//
// It says so of one server, by the connection. In a pipeline of a Cluster client a command without a key goes to the
// first command's server, and a redirected command to another: so each server gets a pipeline of its own, which nobody
// redirects. It waits for all that the server has executed before, so that an operation which found nothing to do waits for
// whoever did it.
//
// A short count is no error of Redis: the operation has been done and may yet reach the replicas. What follows depends on
// whether something can still be undone. After a writer's intent it can, so it is an error. After COMMIT it cannot.

const defaultAckTimeout = 50 * time.Millisecond

// lasts tells whether ops change what must survive a failover.
func lasts(ops []store.Op) (lasts, refusable bool) {
	for i := range ops {
		switch ops[i].Kind {
		case store.Intend, store.Enter:
			lasts, refusable = true, true
		case store.Release, store.Invalidate, store.Bump, store.Leave:
			lasts = true
		}
	}
	return lasts, refusable
}

// acknowledged runs ops, server by server, and waits until the replicas have them.
func (s *Store) acknowledged(ctx context.Context, ops []store.Op, replies []store.Reply, refusable bool) error {
	var order []*server
	groups := make(map[*server][]int)
	for i := range ops {
		at := s.server(ctx, ops[i].Key)
		if at == nil {
			return fmt.Errorf("the Cluster's servers are not known")
		}
		if groups[at] == nil {
			order = append(order, at)
		}
		groups[at] = append(groups[at], i)
	}
	var short error
	for _, at := range order {
		n, err := s.sendAndWait(ctx, at, ops, groups[at], replies)
		if err != nil {
			return err
		}
		if n < s.cfg.Acks {
			s.unacked.Add(uint64(len(groups[at])))
			short = fmt.Errorf("%w: %d of %d have it", store.ErrUnacknowledged, n, s.cfg.Acks)
		}
	}
	if refusable {
		return short
	}
	return nil
}

func (s *Store) sendAndWait(ctx context.Context, at *server, ops []store.Op, of []int, replies []store.Reply) (acks int, err error) {
	var calls []call
	if s.cluster { // a script is for one slot
		byKey := make(map[string]int)
		var groups [][]int
		for _, i := range of {
			n, known := byKey[ops[i].Key]
			if !known {
				n = len(groups)
				byKey[ops[i].Key] = n
				groups = append(groups, nil)
			}
			groups[n] = append(groups[n], i)
		}
		for _, g := range groups {
			calls = append(calls, s.scripts(ctx, ops, g)...)
		}
	} else {
		calls = s.scripts(ctx, ops, of)
	}
	const rounds = 3
	for todo, round := calls, 0; ; round++ {
		pipe := at.client.Pipeline()
		for _, c := range todo {
			_ = pipe.Process(ctx, c.cmd)
		}
		wait := redis.NewIntCmd(ctx, "wait", s.cfg.Acks, s.ackTime(ctx).Milliseconds())
		_ = pipe.Process(ctx, wait)
		_, _ = pipe.Exec(ctx)
		acks = int(wait.Val()) // an error is nobody's acknowledgement
		for _, c := range todo {
			if is(c.cmd.Err(), "MOVED") || is(c.cmd.Err(), "ASK") {
				// On its way to another server: it is done, and nobody says where it has come.
				calls = s.scripts(ctx, ops, of)
				if s.cluster {
					calls = s.asked(ctx, ops, of)
				}
				_, err := s.send(ctx, calls, ops, replies)
				return 0, err
			}
		}
		late := s.notRun(todo, ops)
		if len(late) == 0 || round == rounds-1 {
			break
		}
		again := make([]call, len(late))
		for n, i := range late {
			c := &todo[i]
			if s.plain.Load() {
				c.script = growing
			}
			c.cmd = s.command(ctx, "eval", c.script.source, ops, c.ops)
			again[n] = *c
			for k := range calls { // the answers are read from there
				if len(calls[k].ops) > 0 && calls[k].ops[0] == c.ops[0] {
					calls[k] = *c
				}
			}
		}
		todo = again
	}
	for _, c := range calls {
		if err := c.answer(ops, replies); err != nil {
			return 0, err
		}
	}
	return acks, nil
}

// ackTime is how long replicas may take: not longer than the caller has.
func (s *Store) ackTime(ctx context.Context) time.Duration {
	d := s.cfg.AckTimeout
	if d <= 0 {
		d = defaultAckTimeout
	}
	if deadline, ok := ctx.Deadline(); ok {
		d = min(d, time.Until(deadline)*3/4)
	}
	return max(d, time.Millisecond) // 0 is for ever
}

// Unacknowledged counts the operations that fewer replicas than Config.Acks had acknowledged in time.
func (s *Store) Unacknowledged() uint64 { return s.unacked.Load() }

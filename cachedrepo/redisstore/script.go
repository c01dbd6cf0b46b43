package redisstore

import (
	"context"
	"crypto/sha1"
	_ "embed" // step.lua
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
)

//go:embed step.lua
var stepSource string

type script struct{ source, sha string }

func newScript(source string) *script {
	sum := sha1.Sum([]byte(source))
	return &script{source, hex.EncodeToString(sum[:])}
}

// One source, two scripts. A server at its memory limit refuses commands that may need more, and a script's SET is one
// of them; but an invalidation that is refused leaves a stale value to everybody. So the operations that never make a key
// larger run as a script that the limit does not stop.
var (
	growing = newScript(stepSource)
	freeing = newScript("#!lua flags=allow-oom\n" + stepSource)
)

func frees(op *store.Op) bool {
	switch op.Kind {
	case store.Abandon, store.Release, store.Invalidate, store.Bump, store.Leave:
		return true
	}
	return op.Always
}

// scripts runs the operations at by script, in as few commands as their number allows. A batch of both sorts goes as a
// growing one: order matters more.
func (s *Store) scripts(ctx context.Context, ops []store.Op, at []int) (calls []call) {
	for len(at) > 0 {
		n := min(maxScript, len(at))
		sc := freeing
		for _, i := range at[:n] {
			if !frees(&ops[i]) {
				sc = growing
			}
		}
		if s.plain.Load() {
			sc = growing
		}
		calls = append(calls, call{ops: at[:n], script: sc, cmd: s.command(ctx, "evalsha", sc.sha, ops, at[:n])})
		at = at[n:]
	}
	return calls
}

// asked runs by script what plain commands could not answer. On a Cluster these have a key of their own each.
func (s *Store) asked(ctx context.Context, ops []store.Op, at []int) (calls []call) {
	if !s.cluster {
		return s.scripts(ctx, ops, at)
	}
	for n := range at {
		calls = append(calls, s.scripts(ctx, ops, at[n:n+1])...)
	}
	return calls
}

func (s *Store) command(ctx context.Context, name, what string, ops []store.Op, at []int) redis.Cmder {
	args := make([]any, 0, 4+5*len(at))
	args = append(args, name, what, strconv.Itoa(len(at)))
	for _, i := range at {
		args = append(args, ops[i].Key)
	}
	mode := "-"
	if s.persist.Load() {
		mode = "p"
	}
	args = append(args, mode)
	for _, i := range at {
		op := &ops[i]
		value := op.Value
		if op.Kind != store.Fill && op.Kind != store.AcquireOver {
			value = nil
		}
		args = append(args, int(op.Kind), op.Token[:], value, op.Millis())
	}
	return redis.NewSliceCmd(ctx, args...)
}

// repeat sends calls again that a server did not run because it has not got the script (it was restarted, failed over, or
// told SCRIPT FLUSH), or because it takes the first line of a script for Lua (then it has no memory limit that a script
// could ignore). The first call for each node brings the source along, the others behind it in the pipeline need not;
// should they have gone elsewhere, all bring it in the end.
func (s *Store) repeat(ctx context.Context, calls []call, ops []store.Op) {
	type script struct {
		node any
		sha  string
	}
	const rounds = 3
	for round := range rounds {
		late := s.notRun(calls, ops)
		if len(late) == 0 {
			return
		}
		again := make([]call, len(late))
		sent := map[script]bool{}
		for n, i := range late {
			c := &calls[i]
			if c.script == nil || s.plain.Load() {
				c.script = growing // which can do what GET and SET do
			}
			to := script{s.node(ctx, ops[c.ops[0]].Key), c.script.sha}
			if round == rounds-1 || !sent[to] {
				c.cmd = s.command(ctx, "eval", c.script.source, ops, c.ops)
			} else {
				c.cmd = s.command(ctx, "evalsha", c.script.sha, ops, c.ops)
			}
			sent[to] = true
			again[n] = *c
		}
		s.process(ctx, again)
	}
}

// node stands for the server that has the key, as far as the client shows it.
func (s *Store) node(ctx context.Context, key string) any {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		if master, err := c.MasterForKey(ctx, key); err == nil {
			return master
		}
	}
	return nil
}

// notRun is the calls to repeat. In a pipeline a later call may have found the script, because somebody else loaded it in
// between. If it shares a key with an earlier one that did not run, it is repeated as well: the last run of both is then
// in order, and running twice is what every operation allows. A call that has run and shares none is left alone: a
// Release that runs twice says that its token was lost.
func (s *Store) notRun(calls []call, ops []store.Op) (late []int) {
	keys := map[string]bool{}
	for n, c := range calls {
		again := c.script != nil && is(c.cmd.Err(), "NOSCRIPT")
		if c.script == freeing && strings.Contains(serverError(c.cmd.Err()), "ompiling script") {
			s.plain.Store(true)
			again = true
		}
		for _, i := range c.ops {
			again = again || keys[ops[i].Key]
		}
		if !again {
			continue
		}
		late = append(late, n)
		for _, i := range c.ops {
			keys[ops[i].Key] = true
		}
	}
	return late
}

// answer reads the replies of the script.
func (c call) answer(ops []store.Op, replies []store.Reply) error {
	values, err := c.cmd.(*redis.SliceCmd).Result()
	if err != nil {
		return err
	}
	if len(values) != len(c.ops) {
		return fmt.Errorf("script answered %d of %d operations", len(values), len(c.ops))
	}
	for n, i := range c.ops {
		if replies[i], err = scriptReply(values[n], ops[i].Kind); err != nil {
			return err
		}
	}
	return nil
}

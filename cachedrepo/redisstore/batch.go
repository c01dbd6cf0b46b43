package redisstore

import (
	"context"
	"errors"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/store"
)

// Sizes of one command. The server does nothing else while it runs one: 128 operations of the script take it about a
// millisecond.
const (
	maxScript = 128
	maxRead   = 512
)

// call is one command and the operations that it runs, in their order.
type call struct {
	ops    []int
	cmd    redis.Cmder
	script *script // nil: GET, MGET or SET
}

// plan chooses the commands of a batch. Operations on one key stay in order: a script runs its operations one after the
// other, and a pipeline its commands, as long as a key stays on its node.
func (s *Store) plan(ctx context.Context, ops []store.Op) []call {
	all := make([]int, len(ops))
	reads := true
	for i, op := range ops {
		all[i] = i
		reads = reads && op.Kind == store.Get
	}
	switch {
	case s.cluster:
		return s.planCluster(ctx, ops)
	case len(ops) == 1 && s.native(ops[0]):
		return []call{s.single(ctx, ops, 0)}
	case reads:
		return s.reads(ctx, ops)
	}
	return s.scripts(ctx, ops, all)
}

// planCluster has one command a key: MGET and scripts are for one slot only.
func (s *Store) planCluster(ctx context.Context, ops []store.Op) (calls []call) {
	at := make(map[string]int, len(ops))
	var byKey [][]int
	for i, op := range ops {
		n, ok := at[op.Key]
		if !ok {
			n = len(byKey)
			at[op.Key] = n
			byKey = append(byKey, nil)
		}
		byKey[n] = append(byKey[n], i)
	}
	for _, of := range byKey {
		if len(of) == 1 && s.native(ops[of[0]]) {
			calls = append(calls, s.single(ctx, ops, of[0]))
		} else {
			calls = append(calls, s.scripts(ctx, ops, of)...)
		}
	}
	return calls
}

// native reports whether a plain command does the operation: SET NX GET is Acquire, own lease answered again included.
func (s *Store) native(op store.Op) bool {
	return op.Kind == store.Get || op.Kind == store.Acquire && !s.noSetGet.Load()
}

func (s *Store) single(ctx context.Context, ops []store.Op, i int) call {
	op := &ops[i]
	if op.Kind == store.Get {
		return call{ops: []int{i}, cmd: redis.NewStringCmd(ctx, "get", op.Key)}
	}
	return call{ops: []int{i}, cmd: redis.NewStringCmd(ctx, "set", op.Key, leaseBytes(op.Token), "nx", "get", "px", op.Millis())}
}

func (s *Store) reads(ctx context.Context, ops []store.Op) (calls []call) {
	for from := 0; from < len(ops); from += maxRead {
		to := min(from+maxRead, len(ops))
		args := make([]any, 1, to-from+1)
		args[0] = "mget"
		at := make([]int, 0, to-from)
		for i := from; i < to; i++ {
			args = append(args, ops[i].Key)
			at = append(at, i)
		}
		calls = append(calls, call{ops: at, cmd: redis.NewSliceCmd(ctx, args...)})
	}
	return calls
}

// send runs the calls and fills in the replies. Again are the operations that only the script can answer.
func (s *Store) send(ctx context.Context, calls []call, ops []store.Op, replies []store.Reply) (again []int, err error) {
	s.process(ctx, calls)
	s.repeat(ctx, calls, ops)
	for _, c := range calls {
		if c.script != nil {
			err = c.answer(ops, replies)
		} else {
			var more []int
			more, err = s.answer(c, ops, replies)
			again = append(again, more...)
		}
		if err != nil {
			return nil, err
		}
	}
	return again, nil
}

// process sends commands together. What became of each is in it.
func (s *Store) process(ctx context.Context, calls []call) {
	if len(calls) == 1 {
		_ = s.client.Process(ctx, calls[0].cmd)
		return
	}
	pipe := s.client.Pipeline()
	for _, c := range calls {
		_ = pipe.Process(ctx, c.cmd)
	}
	_, _ = pipe.Exec(ctx)
}

// answer reads the replies of a plain command.
func (s *Store) answer(c call, ops []store.Op, replies []store.Reply) (again []int, err error) {
	if mget, ok := c.cmd.(*redis.SliceCmd); ok {
		values, err := mget.Result()
		if err != nil {
			return nil, err
		}
		if len(values) != len(c.ops) {
			return nil, errors.New("MGET answered another number of values")
		}
		for n, i := range c.ops {
			raw, ok := values[n].(string)
			if !ok {
				// Absent, or no string. The Acquire that comes next tells which.
				replies[i] = store.Reply{}
				continue
			}
			var over bool
			if replies[i], over, _ = read(raw, nil); over {
				again = append(again, i)
			}
		}
		return again, nil
	}

	i := c.ops[0]
	raw, err := c.cmd.(*redis.StringCmd).Result()
	if ops[i].Kind == store.Acquire {
		switch {
		case errors.Is(err, redis.Nil): // nothing was there
			replies[i] = store.Reply{State: store.Lease, Token: ops[i].Token}
			return nil, nil
		case is(err, "ERR syntax error"): // older than 7.0, or a look-alike
			s.noSetGet.Store(true)
			return c.ops, nil
		}
	}
	var over bool
	if replies[i], over, err = read(raw, err); over {
		again = c.ops
	}
	return again, err
}

package cachedrepo

import (
	"context"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// A mark says that a key was written to a moment ago, so that a replica of the database may not have the write yet. It is a
// key beside the key, and whoever ends entries arms it; while it stands, loads under the key go to the primary. Why it has
// to stand before the entry is ended (history 16):
//
//  1. W commits and invalidates K.
//  2. R takes the lease of K, looks for the mark and finds none.
//  3. W arms the mark and returns.
//  4. R reads a replica that has not replayed the commit, and stores the old row: for good.
//
// And why R looks after it has taken the lease, not before: W could arm, invalidate and return between the two.
//
// Right is: W commits at c, arms at m, ends the entry at i; R takes the lease at a, looks at g, then chooses a replica.
//
//   - If i comes after a, the lease has gone with the entry: R may return the old row, for it began before W returned, and
//     cannot store it. It is the same with a load from the primary.
//   - If i comes before a, then m < i < a < g, and R finds the mark, unless it has ended: g - m is at least its life, by the
//     server's clock. R then takes a replica of which it has proof that it had, at the moment of choosing, all commits
//     acknowledged up to at most MaxLag ago. That moment comes after g, so these are all up to g - MaxLag, which is after m
//     if the life is more than MaxLag, and c < m. The commit is there.
//
// So life must be more than MaxLag, by as much as the server's clock may jump (or differ from that of its successor) while
// a mark stands: markMargin. How often anybody polls does not come into it: lag is counted from when a replica was seen to
// have something, not from the poll.
//
// A strict writer's intent has its mark too, since it may be all that is left of the writer: R may take the lease when the
// intent has ended, at its deadline, and the commit may have come at any moment before. Hence the mark of an intent stands
// for the intent's time and life.
//
// Nobody takes a mark away, so that one token does for all writers of all processes: a mark is as large after a thousand
// writes a second as after one.
type marks struct {
	prefix, suffix string
	life           time.Duration
	paired         bool
	token          store.Token
	broom          *broom
}

// markMargin is how far a server's clock may jump, or differ from that of the replica that is promoted in its place.
const markMargin = 2 * time.Second

// newMarks returns nil if no process of the namespace reads from replicas.
func newMarks(rt *runtime) *marks {
	if rt.cfg.Replicas.MaxLag == 0 {
		return nil
	}
	m := &marks{
		// Same braces, same slot of a Redis Cluster: keys have none. A table whose name has none does not begin so either.
		prefix: rt.cfg.Namespace + ":~m{", suffix: "}",
		life: rt.cfg.Replicas.MaxLag + markMargin, broom: newBroom(rt),
	}
	copy(m.token[:], "aside: a mark...")
	if s, ok := rt.store.(store.Paired); ok {
		m.paired = s.Paired()
	}
	return m
}

// declares is what a process that arms marks says in the registry. While somebody is registered who does not say so, or
// arms marks for another time, nobody reads replicas. To indexes it is nothing: these are served all the same.
func (m *marks) declares() string { return "~marks " + m.life.String() }

func (m *marks) key(of string) string { return m.prefix + of + m.suffix }

// of is the mark that stands before op, if op ends entries.
func (m *marks) of(op *store.Op) (mark store.Op, ends bool) {
	life := m.life
	switch op.Kind {
	case store.Intend:
		life += op.TTL
	case store.Release, store.Invalidate:
	default:
		return mark, false
	}
	return store.Op{Kind: store.Intend, Key: m.key(op.Key), Token: m.token, TTL: life, Always: true}, true
}

// arm runs ops with the mark of each before it: in one call if the store keeps pairs together, else all marks in a call
// before. If a mark could not be armed nothing is ended, and the caller keeps all of it pending: an entry that is ended
// without a mark is what the history above is about. Until it is sent again this process reads such keys from the primary.
func (m *marks) arm(ctx context.Context, s store.Store, ops []store.Op, replies []store.Reply) error {
	both := make([]store.Op, 0, 2*len(ops))
	for i := range ops {
		mark, ends := m.of(&ops[i])
		if !ends {
			return s.Do(ctx, ops, replies) // a call is of one sort
		}
		if both = append(both, mark); m.paired {
			both = append(both, ops[i])
		}
	}
	answers := make([]store.Reply, len(both))
	err := s.Do(ctx, both, answers)
	if err != nil {
		return err
	}
	m.broom.note(both)
	if !m.paired {
		return s.Do(ctx, ops, replies)
	}
	for i := range ops {
		replies[i] = answers[2*i+1]
	}
	return nil
}

// call is what all calls of the store go through.
func (rt *runtime) call(ctx context.Context, ops []store.Op, replies []store.Reply) error {
	if rt.marks == nil {
		return rt.store.Do(ctx, ops, replies)
	}
	return rt.marks.arm(ctx, rt.store, ops, replies)
}

// acquire is nodes.do for Acquire and AcquireOver. It tells for which of the leases that were granted a replica may be
// read, since no mark was there after the lease was; nil: for none.
func (rt *runtime) acquire(call, caller context.Context, at *node, ops []store.Op, replies []store.Reply) (unmarked []bool, err error) {
	if !rt.replicas.looks() {
		return nil, rt.nodes.do(call, caller, at, "acquire", ops, replies)
	}
	unmarked = make([]bool, len(ops))
	look := func(i int) store.Op { return store.Op{Kind: store.Get, Key: rt.marks.key(ops[i].Key)} }
	granted := func(i int) bool { return replies[i].State == store.Lease && replies[i].Token == ops[i].Token }
	if rt.marks.paired {
		both, answers := make([]store.Op, 0, 2*len(ops)), make([]store.Reply, 2*len(ops))
		for i := range ops {
			both = append(both, ops[i], look(i))
		}
		if err := rt.nodes.do(call, caller, at, "acquire", both, answers); err != nil {
			return nil, err
		}
		for i := range ops {
			replies[i] = answers[2*i]
			unmarked[i] = granted(i) && rt.unmarked(answers[2*i+1])
		}
		return unmarked, nil
	}
	if err := rt.nodes.do(call, caller, at, "acquire", ops, replies); err != nil {
		return nil, err
	}
	var looks []store.Op
	var of []int
	for i := range ops {
		if granted(i) {
			looks, of = append(looks, look(i)), append(of, i)
		}
	}
	answers := make([]store.Reply, len(looks))
	if len(looks) == 0 || rt.nodes.do(call, caller, at, "mark", looks, answers) != nil {
		return nil, nil // the leases are good, and the primary has the rows
	}
	for n, i := range of {
		unmarked[i] = rt.unmarked(answers[n])
	}
	return unmarked, nil
}

func (rt *runtime) unmarked(r store.Reply) bool {
	if r.State == store.Absent {
		return true
	}
	rt.stats.marked.Add(1)
	return false
}

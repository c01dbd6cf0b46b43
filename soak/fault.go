package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/asidego/aside/internal/faultpoint"
	"github.com/asidego/aside/internal/faults"
)

// fault is one strike of a schedule.
type fault struct {
	Round int           `json:"round"`
	At    time.Duration `json:"at"` // from the beginning of the round
	Kind  string        `json:"kind"`
	For   time.Duration `json:"for,omitempty"`
	Child int           `json:"child,omitempty"` // which of the writers, or of the readers
	Point string        `json:"point,omitempty"` // a fault point, with how many passes come first
}

func (f fault) String() string {
	text := f.Kind
	if f.Point != "" {
		text += fmt.Sprintf(" at %s, child %d", f.Point, f.Child)
	}
	if f.For > 0 {
		text += " for " + f.For.String()
	}
	return text
}

// struck is a fault as it happened.
type struck struct {
	fault
	from, to int64
}

// kind is a kind of fault.
type kind struct {
	name    string
	weight  int
	longest time.Duration // 0: it has no duration
	at      []faultpoint.Point
	loses   bool // it can take intents from Redis, so that P3 is not promised
	strike  func(r *run, f fault) error
}

// kinds are all faults. Every one is over when its strike returns, but for those at points, which wait for somebody to
// pass.
var kinds = []kind{
	{name: "Redis stands still", weight: 3, longest: 400 * time.Millisecond, strike: (*run).stopRedis},
	{name: "Redis is killed and comes back empty", weight: 2, longest: 200 * time.Millisecond, loses: true, strike: (*run).killRedis},
	{name: "Redis is killed and comes back with old data", weight: 2, longest: 300 * time.Millisecond, loses: true, strike: (*run).rewindRedis},
	{name: "Redis fails over to a replica that lags", weight: 4, longest: 300 * time.Millisecond, loses: true, strike: (*run).failOver},
	{name: "FLUSHALL", weight: 2, loses: true, strike: (*run).flush},
	{name: "eviction", weight: 2, longest: 400 * time.Millisecond, loses: true, strike: (*run).evict},
	{name: "Redis refuses writes (NOREPLICAS)", weight: 2, longest: 400 * time.Millisecond, strike: (*run).refuse},
	{name: "Redis refuses writes (MISCONF)", weight: 2, longest: 400 * time.Millisecond, strike: (*run).misconf},
	{name: "replies of Redis are lost", weight: 3, longest: 300 * time.Millisecond, strike: (*run).loseReplies},
	{name: "connections to Redis are cut", weight: 2, strike: (*run).cutRedis},
	{name: "Redis is slow", weight: 3, longest: 500 * time.Millisecond, strike: (*run).slowRedis},
	{name: "connection cut before COMMIT", weight: 2, strike: (*run).cutBefore},
	{name: "connection cut in COMMIT", weight: 2, strike: (*run).cutIn},
	{name: "connection cut after COMMIT", weight: 3, strike: (*run).cutAfter},
	{name: "connections to PostgreSQL are cut", weight: 1, strike: (*run).cutPostgres},
	{name: "PostgreSQL is slow", weight: 1, longest: 400 * time.Millisecond, strike: (*run).slowPostgres},
	{name: "writer killed", weight: 8, at: faultpoint.Writes, strike: (*run).killAt},
	{name: "writer stands still", weight: 2, longest: 2 * time.Second, at: faultpoint.Writes, strike: (*run).stopAt},
	{name: "reader killed", weight: 2, at: faultpoint.Reads, strike: (*run).killAt},
	{name: "reader stands still", weight: 2, longest: 1500 * time.Millisecond, at: faultpoint.Reads, strike: (*run).stopAt},
}

// schedule draws the faults of one round. Two rounds of three are without those that take intents away, for P3 is at stake
// only there, and every seventh is without any. Every other round ends with a writer that dies between COMMIT and the post
// step: what it leaves must be repaired by somebody else than the next writer of that row, who comes soon enough in
// the midst of a round.
func schedule(random *rand.Rand, round int, length time.Duration, points map[faultpoint.Point]bool) (all []fault) {
	if round%7 == 6 {
		return nil
	}
	if round%2 == 0 {
		defer func() {
			all = append(all, fault{Round: round, At: length, Kind: "writer killed", Child: random.IntN(2), Point: string(faultpoint.AfterCommit) + "+0"})
		}()
	}
	gentle := round%3 != 2
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for at := 100 * time.Millisecond; ; {
		at += time.Duration(random.Int64N(int64(500 * time.Millisecond)))
		if at >= length-100*time.Millisecond {
			return all
		}
		n, i := random.IntN(total), 0
		for n >= kinds[i].weight {
			n -= kinds[i].weight
			i++
		}
		k := kinds[i]
		f := fault{Round: round, At: at.Round(time.Millisecond), Kind: k.name, Child: random.IntN(2)}
		if k.longest > 0 {
			f.For = (k.longest/4 + time.Duration(random.Int64N(int64(k.longest*3/4)))).Round(time.Millisecond)
		}
		if len(k.at) > 0 {
			p := k.at[random.IntN(len(k.at))]
			f.Point = fmt.Sprintf("%s+%d", p, random.IntN(4))
			if !points[p] {
				continue // nobody passes there in this mode
			}
		}
		if gentle && k.loses {
			continue
		}
		all = append(all, f)
		at += f.For
	}
}

func kindOf(name string) (kind, bool) {
	for _, k := range kinds {
		if k.name == name {
			return k, true
		}
	}
	return kind{}, false
}

func (r *run) stopRedis(f fault) error {
	if err := r.redis.Stop(); err != nil {
		return err
	}
	time.Sleep(f.For)
	return r.redis.Continue()
}

func (r *run) killRedis(f fault) error {
	if err := r.redis.Kill(); err != nil {
		return err
	}
	time.Sleep(f.For)
	return r.redis.Start(context.Background())
}

// rewindRedis has the server save, go on for a while, die, and come back with what it had saved.
func (r *run) rewindRedis(f fault) error {
	ctx := context.Background()
	if err := r.admin.Do(ctx, "save").Err(); err != nil {
		return fmt.Errorf("SAVE: %w", err)
	}
	dir, err := r.admin.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return err
	}
	time.Sleep(f.For)
	if err := r.redis.Kill(); err != nil {
		return err
	}
	return errors.Join(r.redis.Start(ctx), os.Remove(filepath.Join(dir["dir"], "dump.rdb")))
}

// config sets parameters, waits, and sets them back.
func (r *run) config(wait time.Duration, pairs ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	before := make([]string, len(pairs))
	for i := 0; i < len(pairs); i += 2 {
		got, err := r.admin.ConfigGet(ctx, pairs[i]).Result()
		if err != nil {
			return err
		}
		before[i], before[i+1] = pairs[i], got[pairs[i]]
	}
	set := func(pairs []string) error {
		for i := 0; i < len(pairs); i += 2 {
			if err := r.admin.ConfigSet(ctx, pairs[i], pairs[i+1]).Err(); err != nil {
				return fmt.Errorf("CONFIG SET %s: %w", pairs[i], err)
			}
		}
		return nil
	}
	if err := set(pairs); err != nil {
		return err
	}
	time.Sleep(wait)
	return set(before)
}

func (r *run) flush(fault) error {
	return r.admin.FlushAll(context.Background()).Err()
}

// evict leaves the server next to no memory, so that every write makes it throw something out, whatever that is.
func (r *run) evict(f fault) error {
	return r.config(f.For, "maxmemory-policy", "allkeys-random", "maxmemory", "1")
}

func (r *run) refuse(f fault) error {
	return r.config(f.For, "min-replicas-to-write", "1")
}

// misconf has the server fail to save, and refuse writes for it, until it has saved.
func (r *run) misconf(f fault) error {
	ctx := context.Background()
	before, err := r.admin.ConfigGet(ctx, "dir").Result()
	if err != nil {
		return err
	}
	for _, pair := range [][2]string{{"dir", "/"}, {"save", "900 1"}} { // the server's account cannot write there
		if err := r.admin.ConfigSet(ctx, pair[0], pair[1]).Err(); err != nil {
			return fmt.Errorf("CONFIG SET %s: %w", pair[0], err)
		}
	}
	_ = r.admin.Do(ctx, "bgsave").Err()
	time.Sleep(f.For)
	if err := r.admin.ConfigSet(ctx, "dir", before["dir"]).Err(); err != nil {
		return fmt.Errorf("CONFIG SET dir: %w", err)
	}
	for deadline := now() + int64(patience); ; time.Sleep(5 * time.Millisecond) {
		if err = r.admin.Do(ctx, "save").Err(); err == nil {
			// What was saved must not be there when the server is killed and comes back: that would be another fault.
			return errors.Join(r.admin.ConfigSet(ctx, "save", "").Err(), os.Remove(filepath.Join(before["dir"], "dump.rdb")))
		}
		if now() > deadline {
			return fmt.Errorf("SAVE: %w", err)
		}
	}
}

func (r *run) loseReplies(f fault) error {
	r.toRedis.Swallow(faults.ToClient)
	time.Sleep(f.For)
	r.toRedis.Resume()
	r.toRedis.Cut() // what was lost left connections out of step
	return nil
}

func (r *run) cutRedis(fault) error {
	r.toRedis.Cut()
	return nil
}

// slow delays what clients send, by a little each.
func slow(p *faults.Proxy, f fault, by time.Duration) error {
	var n atomic.Int64
	p.OnClientBytes(func(int, []byte) faults.Action {
		time.Sleep(time.Duration(1+n.Add(1)%4) * by / 4)
		return faults.Forward
	})
	time.Sleep(f.For)
	p.OnClientBytes(nil)
	return nil
}

func (r *run) slowRedis(f fault) error    { return slow(r.toRedis, f, 20*time.Millisecond) }
func (r *run) slowPostgres(f fault) error { return slow(r.toPostgres, f, 8*time.Millisecond) }

// fateTime is how long a fault waits for somebody's COMMIT.
const fateTime = 300 * time.Millisecond

func (r *run) fate(arm func() *faults.Fault) bool {
	defer r.toPostgres.OnClientBytes(nil)
	select {
	case <-arm().Fired():
		return true
	case <-time.After(fateTime):
		return false
	}
}

func (r *run) cutBefore(fault) error {
	r.fate(r.toPostgres.CutBeforeCommit)
	return nil
}

func (r *run) cutAfter(fault) error {
	r.fate(r.toPostgres.CutAfterCommit)
	return nil
}

// cutIn lets COMMIT reach the server, whose answer never comes; the connection is cut a while later.
func (r *run) cutIn(fault) error {
	if r.fate(r.toPostgres.SwallowCommitReply) {
		time.Sleep(100 * time.Millisecond)
		r.toPostgres.Cut()
	}
	return nil
}

func (r *run) cutPostgres(fault) error {
	r.toPostgres.Cut()
	return nil
}

// index is that of the child that a fault is for: writers come first.
func (f fault) index(r *run) int {
	point, _, _ := strings.Cut(f.Point, "+")
	if slices.Contains(faultpoint.Reads, faultpoint.Point(point)) {
		return len(r.children) - 1 - f.Child%max(1, r.cfg.Readers)
	}
	return f.Child % max(1, r.cfg.Writers)
}

// killAt has a child die at a point, and another take its place.
func (r *run) killAt(f fault) error {
	p := r.child(f.index(r))
	last := f.At >= r.cfg.Round
	for n := 0; last && n < r.cfg.Writers; n++ { // nobody shall write over what this one leaves
		if n != f.index(r) {
			if _, err := r.child(n).pause(); err != nil {
				return err
			}
		}
	}
	if p.say("strike", f.Point+":kill") != nil {
		<-p.gone
	}
	select {
	case <-p.gone:
		r.killed[strings.Split(f.Point, "+")[0]]++
		if last {
			return nil
		}
		if err := r.replace(p); err != nil {
			return err
		}
		return r.child(f.index(r)).say("go", "")
	case <-time.After(2 * fateTime):
		return nil // it will when it gets there
	}
}

func (r *run) stopAt(f fault) error {
	p := r.child(f.index(r))
	if p.say("strike", f.Point+":stop") != nil {
		<-p.gone
	}
	time.Sleep(f.For)
	p.signal(syscall.SIGCONT)
	return nil
}

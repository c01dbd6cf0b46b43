package cachedrepo

import (
	"context"
	"log/slog"
	"testing"
	"time"
	"unsafe"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/txhooks"
)

// What a replica proves: the latest moment of which it has everything, in the same history.
func TestLagProof(t *testing.T) {
	t.Parallel()
	start := time.Now()
	at := func(s int) time.Time { return start.Add(time.Duration(s) * time.Second) }
	var h history
	for i, log := range []uint64{100, 200, 200, 300} {
		h.add(milestone{at(i), position{log: log, timeline: 1, system: "a"}}, time.Hour)
	}
	for _, c := range []struct {
		name string
		p    position
		want int // seconds; -1: nothing
	}{
		{"all", position{log: 300, timeline: 1, system: "a"}, 3},
		{"more than was known", position{log: 1000, timeline: 1, system: "a"}, 3},
		{"part of it", position{log: 299, timeline: 1, system: "a"}, 2},
		{"the first", position{log: 100, timeline: 1, system: "a"}, 0},
		{"too little", position{log: 99, timeline: 1, system: "a"}, -1},
		{"another timeline: others wrote what stands there", position{log: 1000, timeline: 2, system: "a"}, -1},
		{"an older timeline", position{log: 1000, timeline: 0, system: "a"}, -1},
		{"another database", position{log: 1000, timeline: 1, system: "b"}, -1},
	} {
		s, ok := h.proves(c.p)
		if ok != (c.want >= 0) || ok && !s.at.Equal(at(c.want)) {
			t.Errorf("%s: %v, %t, want second %d", c.name, s.at.Sub(start), ok, c.want)
		}
	}
	h.add(milestone{at(10), position{log: 1, timeline: 2, system: "a"}}, 7*time.Second)
	if n := len(h.milestones); n != 2 {
		t.Errorf("%d milestones are kept, want those of seven seconds", n)
	}
}

// What was proven longer ago than a replica may lag counts no more, nor does what was proven on a connection that has ended.
func TestLagOfAProof(t *testing.T) {
	t.Parallel()
	life, end := context.WithCancel(t.Context())
	p, now := new(replica), time.Now()
	for ago, want := range map[time.Duration]bool{0: true, time.Second: true, time.Second + 1: false, time.Hour: false} {
		p.proof.Store(&proof{now.Add(-ago), life})
		if got := p.proven(now, time.Second) != nil; got != want {
			t.Errorf("%s ago: %t", ago, got)
		}
	}
	p.proof.Store(&proof{now, life})
	if end(); p.proven(now, time.Second) != nil {
		t.Error("the connection has ended")
	}
}

// A clock that stood still while the machine did is not believed, nor one that was set back.
func TestLagAge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	shifted := func(wall, monotonic time.Duration) time.Time {
		at := now.Add(wall)
		// As package time has it: the monotonic reading is the second word.
		(*struct {
			wall uint64
			ext  int64
		})(unsafe.Pointer(&at)).ext += int64(monotonic - wall)
		return at
	}
	for _, c := range []struct{ wall, monotonic, want time.Duration }{
		{-time.Second, -time.Second, time.Second},
		{-time.Minute, -time.Second, time.Minute},
		{time.Hour, -time.Second, time.Second},
	} {
		if got := age(shifted(c.wall, c.monotonic), now); got != c.want {
			t.Errorf("%s by the wall clock, %s by the other: %s, want %s", -c.wall, -c.monotonic, got, c.want)
		}
	}
}

// A commit that is acknowledged before it is written is in the log all the same.
func TestLagOfAnAsynchronousCommit(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresWith(t, `CREATE TABLE things (n int)`)
	db := pg.Open(t)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 10 { // the server may write of its own accord in between
		for _, statement := range []string{`SET synchronous_commit = off`, `INSERT INTO things SELECT 1`} {
			if _, err := conn.ExecContext(t.Context(), statement); err != nil {
				t.Fatal(err)
			}
		}
		var end string
		if err := conn.QueryRowContext(t.Context(), `SELECT pg_current_wal_insert_lsn()::text`).Scan(&end); err != nil {
			t.Fatal(err)
		}
		want, err := parseLog(end)
		if err != nil {
			t.Fatal(err)
		}
		s, err := askPrimary(context.Background(), conn)
		if err != nil {
			t.Fatal(err)
		}
		if s.log < endOfRecord(want, 8192, 16<<20) {
			t.Fatalf("the log ends at %x, and a commit at %x", s.log, want)
		}
		if s.timeline == 0 || s.system == "" || s.recovery {
			t.Errorf("%+v", s)
		}
	}
}

func TestParseLog(t *testing.T) {
	t.Parallel()
	if got, err := parseLog("16/B374D848"); err != nil || got != 0x16_B374D848 {
		t.Errorf("%x, %v", got, err)
	}
	for _, text := range []string{"", "1", "/", "x/1", "1/x"} {
		if _, err := parseLog(text); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

// What comes before what, and for how long it stands.
func TestMarkLife(t *testing.T) {
	t.Parallel()
	m := &marks{prefix: "shop:~m{", suffix: "}", life: time.Second + markMargin}
	for kind, want := range map[store.OpKind]time.Duration{
		store.Invalidate: 3 * time.Second, store.Release: 3 * time.Second,
		store.Intend: 33 * time.Second, // its writer may die, and have committed at any moment before the deadline
	} {
		mark, ends := m.of(&store.Op{Kind: kind, Key: "shop:products:id:7", TTL: 30 * time.Second})
		if !ends || mark.TTL != want || mark.Kind != store.Intend || mark.Key != "shop:~m{shop:products:id:7}" || !mark.Always {
			t.Errorf("before operation %d: %+v", kind, mark)
		}
	}
	for _, kind := range []store.OpKind{store.Get, store.Acquire, store.AcquireOver, store.Fill, store.Abandon} {
		if _, ends := m.of(&store.Op{Kind: kind}); ends {
			t.Errorf("operation %d has a mark", kind)
		}
	}
}

// A replica crashes during a load and is back before anybody has noticed: it may answer while it is behind where it was. What
// was loaded does not count.
func TestReplicaCrashesUnnoticed(t *testing.T) {
	t.Parallel()
	pg := testenv.NewPostgres(t)
	standby := pg.NewStandby(t)
	db := txhooks.New(pg.Open(t), txhooks.Config{Replicas: []*sqlx.DB{standby.Open(t)}})
	rt := &runtime{db: db, cfg: Config{Logger: slog.New(slog.DiscardHandler), Replicas: ReplicaConfig{MaxLag: time.Minute}}}
	rt.flights = newFlights(1, time.Minute)
	rt.marks = &marks{}
	rs, err := newReplicas(rt)
	if err != nil {
		t.Fatal(err)
	}
	rt.replicas = rs
	rs.patience = time.Minute
	p := rs.all[0]
	ctx, stop := context.WithCancel(t.Context())
	defer rs.running.Wait()
	defer stop()
	rs.running.Go(func() { p.run(ctx) }) // nobody polls
	m, err := askPrimary(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	rs.history.add(m, time.Minute)
	standby.CatchUp()
	p.nudge <- struct{}{}
	for end := time.Now().Add(30 * time.Second); p.proven(time.Now(), time.Minute) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the replica proves nothing")
		}
	}
	for _, crash := range []bool{false, true} {
		loads := 0
		from, err := anywhere(t.Context(), rt, true, func(ctx context.Context) (server string, err error) {
			loads++
			err = db.GetContext(ctx, &server, `SELECT CASE WHEN pg_is_in_recovery() THEN 'replica' ELSE 'primary' END`)
			if crash && loads == 1 {
				standby.Kill()
				standby.Start()
			}
			return server, err
		}, func(error) bool { return false }, "key")
		if want := map[bool]string{false: "replica", true: "primary"}[crash]; err != nil || from != want {
			t.Errorf("crash %t: the answer is that of the %s, %v, want the %s", crash, from, err, want)
		}
	}
}

package outbox

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// A row is done when every consumer that is alive has it; one that comes late gets what is left.
func TestRowsWaitForEveryConsumer(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	a, b := newConsumer("a"), newConsumer("b")
	s.start(t, a, quietly())
	open(t, pg.URL()).start(t, b, quietly())
	s.record(t, 1)
	s.until(t, 1, "SELECT count(*) FROM aside_outbox WHERE cardinality(acked) = 1 AND done_at IS NULL")
	late := newConsumer("c")
	open(t, pg.URL()).start(t, late, fast())
	late.hears(t, "1=t1")
	s.until(t, 1, "SELECT count(*) FROM aside_outbox WHERE cardinality(acked) = 2 AND done_at IS NULL")
	again := newConsumer("b") // another process of the second
	open(t, pg.URL()).start(t, again, fast())
	again.hears(t, "1=t1")
	s.until(t, 1, doneRows)
	if len(a.heard())+len(b.heard()) > 0 || a.ended()+b.ended()+late.ended()+again.ended() != "" {
		t.Error("somebody was told more than it needs")
	}
}

// A consumer that is dead is not waited for; when it returns it ends all its entries, once.
func TestDeadConsumerReturns(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	dead := newConsumer("dead")
	ds := open(t, pg.URL())
	d, err := Start(ds.db, dead, quietly())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.start(t, newConsumer("alive"), fast())
	s.record(t, 1)
	s.until(t, 1, "SELECT count(*) FROM aside_outbox WHERE cardinality(acked) = 1 AND done_at IS NULL")
	s.conn.MustExec("UPDATE aside_consumers SET expires_at = now() WHERE name = 'dead'")
	s.until(t, 1, doneRows) // nobody acknowledges it any more: it was swept
	for range 2 {
		o, err := Start(ds.db, dead, quietly())
		if err != nil {
			t.Fatal(err)
		}
		if got := dead.ended(); got != "all" {
			t.Errorf("ended: %q", got)
		}
		_ = o.Close(t.Context())
	}
	if len(dead.heard()) > 0 {
		t.Error("told of a row that was done")
	}
}

// Nor is one waited for that was dead when a row was acknowledged: no sweep comes to that row any more.
func TestDeadConsumerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	if err := open(t, pg.URL()).start(t, newConsumer("dead"), quietly()).Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.conn.MustExec("UPDATE aside_consumers SET expires_at = now()")
	o := s.start(t, newConsumer("alive"), quietly())
	eventually(t, "it has swept and counted", func() bool { return o.Stats().Consumers == 1 })
	s.record(t, 1)
	s.until(t, 1, "SELECT count(*) FROM aside_outbox WHERE cardinality(acked) = 1")
	if n := s.count(t, doneRows); n != 1 {
		t.Error("the row waits for the dead")
	}
}

// What a returning consumer owes is paid by whoever can: its store is away when it starts.
func TestDebtIsPaidLater(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	first := s.start(t, newConsumer("a"), quietly())
	_ = first.Close(t.Context())
	s.conn.MustExec("UPDATE aside_consumers SET expires_at = now()")
	broken, well := newConsumer("a"), newConsumer("a")
	broken.retire = func() error { return errGone{} }
	o := open(t, pg.URL()).start(t, broken, quietly())
	if o.Stats().Errors == 0 || s.count(t, "SELECT count(*) FROM aside_consumers WHERE retire_since IS NOT NULL") != 1 {
		t.Fatal("the debt was forgotten")
	}
	open(t, pg.URL()).start(t, well, quietly())
	if got := well.ended(); got != "all" {
		t.Errorf("ended: %q", got)
	}
	s.until(t, 0, "SELECT count(*) FROM aside_consumers WHERE retire_since IS NOT NULL")
}

// A process that lives and could not say so is taken for dead: it finds out by itself.
func TestLapsedConsumerEndsItsEntries(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	c := newConsumer("a")
	cfg := fast()
	cfg.Expire = time.Second // a beat is a tenth
	o := s.start(t, c, cfg)
	s.conn.MustExec("UPDATE aside_consumers SET expires_at = now() - interval '1 s'")
	eventually(t, "all is ended", func() bool { return c.ended() == "all" && o.Stats().Retired == 1 })
	// It is alive for others again.
	s.until(t, 1, "SELECT count(*) FROM aside_consumers WHERE expires_at > now() AND retire_since IS NULL")
}

// So does one whose sign of life may have come late: the answer to it was lost, and the one before it is older than Expire, so
// that others may have taken it for dead in between.
func TestLateSignOfLife(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	c := newConsumer("a")
	o := s.start(t, c, quietly())
	for _, test := range []struct {
		k    keeper
		want string
	}{
		{keeper{good: time.Now().Add(-o.cfg.Expire / 2), failed: true}, ""},
		{keeper{good: time.Now().Add(-o.cfg.Expire)}, ""},
		{keeper{good: time.Now().Add(-o.cfg.Expire), failed: true}, "all"},
	} {
		if err := o.live(t.Context(), &test.k); err != nil || c.ended() != test.want {
			t.Errorf("the last answer was %s ago, lost since %t: ended %q, %v; want %q", o.cfg.Expire, test.k.failed, c.ended(), err, test.want)
		}
	}
}

// A version that knows other indexes is another consumer: what one acknowledges is open for the other (hazard 2e).
func TestVersionsAreConsumersOfTheirOwn(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	older, newer := newConsumer("a"), newConsumer("a")
	older.indexes, older.table = []string{"songs.id"}, bare.Relation()
	s.start(t, older, quietly())
	open(t, pg.URL()).start(t, newer, fast())
	s.record(t, 1)
	newer.hears(t, "1=t1")
	s.until(t, 1, doneRows)
	if n := s.count(t, "SELECT cardinality(acked) FROM aside_outbox"); n != 2 {
		t.Errorf("acknowledged by %d", n)
	}
}

// A deploy costs no entries, nor does the way back: somebody who knows the same indexes was told all along.
func TestDeployOwesNothing(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	version := func(indexes ...string) (*consumer, *Outbox) {
		c := newConsumer("a")
		c.indexes = indexes
		o, err := Start(s.db, c, quietly())
		if err != nil {
			t.Fatal(err)
		}
		return c, o
	}
	begin := func(c *consumer, o *Outbox) string {
		t.Helper()
		_ = o.Close(context.Background())
		return c.ended()
	}
	if got := begin(version("id")); got != "" {
		t.Errorf("the first owes %s", got)
	}
	if got := begin(version("id", "title")); got != "" {
		t.Errorf("the next owes %s", got)
	}
	s.conn.MustExec("UPDATE aside_consumers SET since = now() - interval '1 h'")
	// The older has gone, and the newer was there before.
	s.conn.MustExec("UPDATE aside_consumers SET expires_at = now() - interval '1 m' WHERE cardinality(indexes) = 1")
	if got := begin(version("id")); got != "" {
		t.Errorf("the way back owes %s", got)
	}
	if got := begin(version("id", "year")); got != "" {
		t.Errorf("a third owes %s", got)
	}
	// The newer was not there yet when the older went: what both know may be old.
	s.conn.MustExec("UPDATE aside_consumers SET expires_at = now() - interval '2 h' WHERE NOT indexes @> '{title}'")
	if got := begin(version("id", "artist")); got != "all" {
		t.Errorf("after a gap a new version owes %q", got)
	}
	// Of an index that nobody who lives knows.
	s.conn.MustExec("UPDATE aside_consumers SET since = now() - interval '9 h', expires_at = CASE WHEN indexes @> '{title}' THEN now() - interval '1 m' ELSE expires_at END")
	if got := begin(version("title")); got != "all" {
		t.Errorf("what no living version knows: %q", got)
	}
	// Nothing in common with who is gone.
	if got := begin(version("lyrics")); got != "" {
		t.Errorf("owes %q", got)
	}
}

// Replay delivers what is open and what was done, for a while: then it is deleted.
func TestReplayAndPurge(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	c := newConsumer("a")
	cfg := quietly()
	cfg.Doubt, cfg.Keep = time.Millisecond, time.Hour
	o := s.start(t, c, cfg)
	s.record(t, 1)
	s.until(t, 1, doneRows)
	s.unfinished(t)
	s.record(t, 2)
	s.capture(t, captured("songs", `"id"`, `"3"`))
	if n, err := o.Replay(t.Context()); n != 3 || err != nil {
		t.Errorf("%d rows, %v", n, err)
	}
	c.hears(t, "1=t1", "2=t2", "3=NULL")
	if got := c.ended(); got != "title" || o.Stats().Replayed != 3 {
		t.Errorf("ended %q, %+v", got, o.Stats())
	}
	if n := s.count(t, openRows); n != 2 {
		t.Errorf("%d rows are open: a replay acknowledges nothing", n)
	}
	if err := o.purge(t.Context()); err != nil || s.count(t, doneRows) != 1 {
		t.Errorf("what is to be kept was deleted: %v", err)
	}
	s.conn.MustExec("INSERT INTO aside_outbox (changes, done_at) SELECT '[]', now() - interval '61 m' FROM generate_series(1, $1)", 2*manyRows+1)
	if err := o.purge(t.Context()); err != nil || s.count(t, doneRows) != 1 || s.count(t, openRows) != 2 {
		t.Errorf("left: %d done, %d open, %v", s.count(t, doneRows), s.count(t, openRows), err)
	}
}

// Two consumers that acknowledge the same rows at the same time lose neither's word.
func TestAcknowledgementsMeet(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	const rows = 500
	a, b := s.start(t, newConsumer("a"), fast()), open(t, pg.URL()).start(t, newConsumer("b"), fast())
	for i := range rows {
		s.record(t, int64(i))
	}
	s.until(t, rows, doneRows)
	if n := s.count(t, "SELECT count(*) FROM aside_outbox WHERE cardinality(acked) = 2"); n != rows {
		t.Errorf("%d rows have both", n)
	}
	eventually(t, "all is counted", func() bool { return a.Stats().Acknowledged+a.Stats().Delivered >= rows && b.Stats().Delivered >= rows })
	if a.Stats().Acknowledged+a.Stats().Delivered != rows || b.Stats().Delivered != rows {
		t.Errorf("%+v\n%+v", a.Stats(), b.Stats())
	}
}

// Close acknowledges what was settled a moment ago.
func TestCloseAcknowledges(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	o := s.start(t, newConsumer("a"), quietly())
	for i := range 10 {
		s.record(t, int64(i))
	}
	if err := o.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, doneRows); n != 10 {
		t.Errorf("%d rows are done", n)
	}
	s.record(t, 10)
	if n := s.count(t, "SELECT count(*) FROM aside_outbox"); n != 10 {
		t.Error("a transaction after Close was written down")
	}
}

// Close comes while acknowledgements are under way, and ends them: it sends them again itself.
func TestCloseAcknowledgesWhatWasUnderWay(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	o := s.start(t, newConsumer("a"), quietly())
	waiting := func() (pid int) {
		_ = s.conn.Get(&pid, `SELECT coalesce(max(pid), 0) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
			AND query LIKE '%FOR UPDATE SKIP LOCKED%acked%'`)
		return pid
	}
	s.record(t, 1)
	s.until(t, 1, doneRows)
	eventually(t, "it has counted, after it has swept", func() bool { return o.Stats().Consumers == 1 })
	// Nobody may write to the table for a while.
	lock := s.conn.MustBegin()
	defer func() { _ = lock.Rollback() }()
	tx, changes, _ := s.underWay(t, o.writer)
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	lock.MustExec("LOCK TABLE aside_outbox IN SHARE MODE")
	o.acks.add(changes.ID())
	var first int
	eventually(t, "the acknowledgement waits", func() bool { first = waiting(); return first != 0 })
	closed := make(chan error, 1)
	go func() { closed <- o.Close(context.Background()) }()
	eventually(t, "that of Close waits, or Close is done", func() bool {
		pid := waiting()
		return pid != 0 && pid != first || len(closed) > 0
	})
	if err := lock.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if n := s.count(t, doneRows); n != 2 {
		t.Errorf("%d rows are done, want 2", n)
	}
}

// forgetful is a consumer whose store forgets what it was told.
type forgetful struct {
	*consumer
	moved func(ctx context.Context) error
}

func (f *forgetful) OnMove(moved func(ctx context.Context) error) { f.moved = moved }

// What a store has forgotten is delivered once more, when it can be.
func TestForgottenIsToldAgain(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	c := &forgetful{consumer: newConsumer("a")}
	var away atomic.Bool
	c.deliver = func(context.Context, []string) error {
		if away.Load() {
			return errGone{}
		}
		return nil
	}
	o := s.start(t, c, quietly())
	s.record(t, 1)
	s.until(t, 1, doneRows)
	away.Store(true)
	_ = c.moved(t.Context())
	eventually(t, "an attempt", func() bool { return o.Stats().Errors > 0 })
	_ = c.moved(t.Context())
	away.Store(false)
	c.hears(t, "1=t1")
}

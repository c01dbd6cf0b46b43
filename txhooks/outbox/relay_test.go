package outbox

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// What the writer could not do the relay does; what it has done it need not.
func TestRelayDeliversWhatIsPending(t *testing.T) {
	t.Parallel()
	s, c := open(t, database(t).URL()), newConsumer("a")
	cfg := fast()
	cfg.Grace = time.Second // longer than an acknowledgement may take here
	o := s.start(t, c, cfg)
	s.record(t, 1)
	s.until(t, 1, doneRows)
	eventually(t, "it is counted", func() bool { return o.Stats().Acknowledged == 1 })
	if told := c.heard(); len(told) > 0 {
		t.Errorf("told of what was acknowledged: %v", told)
	}
	s.unfinished(t)
	s.record(t, 2, 3)
	c.hears(t, "2=t2", "3=t3")
	s.until(t, 2, doneRows)
	eventually(t, "it is counted", func() bool { return o.Stats().Delivered > 0 })
	if got := o.Stats(); got.Delivered != 1 || got.Staged != 2 {
		t.Errorf("%+v", got)
	}
	if slices.Contains(c.ids, [16]byte{}) {
		t.Error("the transaction's ID was not told")
	}
}

// A transaction that takes long has a lower id than others that were delivered before it committed. A relay that goes on
// after the last id that it saw never finds it.
func TestRelayFindsSlowTransactions(t *testing.T) {
	t.Parallel()
	s, c := open(t, database(t).URL()), newConsumer("a")
	s.start(t, c, fast())
	slow := s.conn.MustBegin()
	slow.MustExec("INSERT INTO aside_outbox (changes) VALUES ($1::text::jsonb)", captured("songs", `"id", "title"`, `"1"`, `"slow"`))
	for i := range 5 {
		title := fmt.Sprint("quick", i)
		s.capture(t, captured("songs", `"id", "title"`, `"2"`, `"`+title+`"`))
		c.hears(t, "2="+title)
	}
	if slices.Contains(c.heard(), "1=slow") {
		t.Fatal("told before the commit")
	}
	if err := slow.Commit(); err != nil {
		t.Fatal(err)
	}
	c.hears(t, "1=slow")
	s.until(t, 0, openRows)
}

// Four relays share the work. One of them stands still with what it has in hand, and the others do all the rest.
func TestRelaysDoNotWaitForOneAnother(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s := open(t, pg.URL())
	const rows = 6 * claimed
	var first atomic.Bool
	release := make(chan struct{})
	stuck := make(chan []string, 1)
	var consumers []*consumer
	for range 4 {
		c := newConsumer("a")
		c.deliver = func(ctx context.Context, told []string) error {
			if first.CompareAndSwap(false, true) {
				stuck <- told
				<-release
			}
			return nil
		}
		consumers = append(consumers, c)
	}
	for i := range rows {
		s.capture(t, captured("songs", `"id", "title"`, fmt.Sprintf(`"%d"`, i), `"x"`))
	}
	for _, c := range consumers {
		open(t, pg.URL()).start(t, c, fast())
	}
	held := <-stuck
	s.until(t, len(held), openRows)
	close(release)
	s.until(t, 0, openRows)
	told := make(map[string]int)
	for _, c := range consumers {
		for _, image := range c.heard() {
			told[image]++
		}
	}
	for i := range rows {
		if n := told[fmt.Sprintf("%d=x", i)]; n != 1 {
			t.Errorf("row %d was delivered %d times", i, n)
		}
	}
}

// A row is left to its writer for a while.
func TestRelayLeavesRowsToTheirWriter(t *testing.T) {
	t.Parallel()
	s, c := open(t, database(t).URL()), newConsumer("a")
	cfg := fast()
	cfg.Grace = 500 * time.Millisecond
	s.start(t, c, cfg)
	s.unfinished(t)
	began := time.Now()
	s.record(t, 1)
	c.hears(t, "1=t1")
	if took := time.Since(began); took < cfg.Grace {
		t.Errorf("told after %s", took)
	}
}

// While the store is away rows wait, and nobody is blamed.
func TestRelayWaitsForTheStore(t *testing.T) {
	t.Parallel()
	s, c := open(t, database(t).URL()), newConsumer("a")
	var mu sync.Mutex
	away, tried := true, 0
	c.deliver = func(context.Context, []string) error {
		mu.Lock()
		defer mu.Unlock()
		if tried++; away {
			return errGone{}
		}
		return nil
	}
	cfg := fast()
	cfg.Poll = time.Millisecond
	o := s.start(t, c, cfg)
	s.capture(t, captured("songs", `"id", "title"`, `"1"`, `"x"`))
	eventually(t, "tried more often than a bad row is", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return tried > 2*triesOfRow
	})
	mu.Lock()
	away = false
	mu.Unlock()
	c.hears(t, "1=x")
	s.until(t, 0, openRows)
	if n := s.count(t, "SELECT count(*) FROM aside_parked"); n != 0 || o.Stats().Errors == 0 {
		t.Errorf("%d rows parked, %+v", n, o.Stats())
	}
}

// A row that cannot be read, one that the consumer panics over, one that it does not take: each is parked, with its error
// and after what it may concern was ended. The rest is delivered.
func TestRelayParks(t *testing.T) {
	t.Parallel()
	s, c := open(t, database(t).URL()), newConsumer("a")
	c.deliver = func(_ context.Context, told []string) error {
		if slices.Contains(told, "1=bad") {
			return errBad
		}
		if slices.Contains(told, "2=panic") {
			panic("no")
		}
		return nil
	}
	o := s.start(t, c, fast())
	s.capture(t, `{"not": "a list"}`)
	s.capture(t, captured("songs", `"id", "title"`, `"seven"`, `"x"`))
	s.capture(t, captured("songs", `"id", "title"`, `"1"`, `"bad"`))
	s.capture(t, captured("songs", `"id", "title"`, `"2"`, `"panic"`))
	s.capture(t, captured("songs", `"id", "title"`, `"3"`, `"good"`))
	c.hears(t, "3=good")
	s.until(t, 4, "SELECT count(*) FROM aside_parked")
	s.until(t, 0, openRows)
	eventually(t, "counted", func() bool { return o.Stats().Parked == 4 })
	var all []string
	if err := s.conn.Select(&all, "SELECT error FROM aside_parked ORDER BY id"); err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"not what this version writes", "table songs: model: songs: column id", errBad.Error(), "panicked: no"} {
		if !strings.Contains(all[i], want) {
			t.Errorf("%s\nwant %s", all[i], want)
		}
	}
	if got := c.ended(); !strings.Contains(got, "all") {
		t.Errorf("ended: %s", got)
	}
}

// A row whose writer does not know an index says nothing of it: all entries of that index are ended, and of no other. It is not
// done before they are.
func TestRelayEndsIndexesThatARowDoesNotTell(t *testing.T) {
	t.Parallel()
	s, c := open(t, database(t).URL()), newConsumer("a")
	var mu sync.Mutex
	away := true
	c.retire = func() error {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return errGone{}
		}
		return nil
	}
	o := s.start(t, c, fast())
	s.capture(t, captured("public.songs", `"id"`, `"1"`))
	c.hears(t, "1=NULL")
	eventually(t, "an error", func() bool { return o.Stats().Errors > 1 })
	if n := s.count(t, openRows); n != 1 {
		t.Fatalf("%d rows are open", n)
	}
	mu.Lock()
	away = false
	mu.Unlock()
	s.until(t, 0, openRows)
	if got := c.ended(); got != "title" {
		t.Errorf("ended: %s", got)
	}
	if n := o.Stats().Incomplete; n != 1 {
		t.Errorf("incomplete: %d", n)
	}
	// A trigger says so itself: a column that it captures is gone.
	s.capture(t, `[{"t": "public.songs", "op": "U", "c": ["id", "title"], "n": 2, "b": "{{1,NULL},{2,NULL}}", "stale": "a column is gone"}]`)
	c.hears(t, "2=NULL")
	s.until(t, 0, openRows)
	if got := c.ended(); got != "title id title" {
		t.Errorf("ended: %s", got)
	}
	// While others wait for the next time, what says everything does not.
	s.capture(t, captured("songs", `"id"`, `"2"`))
	s.capture(t, captured("songs", `"id", "title"`, `"3"`, `"x"`))
	c.hears(t, "3=x")
	s.until(t, 0, openRows)
}

// A table that the consumer has nothing of is counted.
func TestRelayPassesOverOtherTables(t *testing.T) {
	t.Parallel()
	s, c := open(t, database(t).URL()), newConsumer("a")
	o := s.start(t, c, fast())
	s.capture(t, captured("shop.songs", `"id"`, `"1"`))
	s.until(t, 0, openRows)
	if n := o.Stats().Unknown; n != 1 || len(c.heard()) > 0 || c.ended() != "" {
		t.Errorf("unknown %d, told %v, ended %s", n, c.heard(), c.ended())
	}
}

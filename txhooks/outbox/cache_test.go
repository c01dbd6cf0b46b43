package outbox_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/txhooks/outbox"
)

func newDatabase(t *testing.T) *testenv.PG {
	t.Helper()
	return testenv.PostgresWith(t, guestSchema+outbox.Schema(t))
}

// limit is what the documentation promises, on a machine that has time for it.
const limit = time.Second

// The writer dies between COMMIT and its invalidations. Readers have the old row until somebody's relay has had its turn.
func TestWriterKilledAfterCommit(t *testing.T) {
	t.Parallel()
	pg, server := newDatabase(t), testenv.Redis(t)
	s := serve(t, pg.URL(), server.Client(t), server.Prefix(), outbox.Config{})
	var took []time.Duration
	for i, fault := range []string{"after-commit", "before-post", "in-post", "after-commit"} {
		id := int64(i + 1)
		s.warm(t, id, "v0")
		w := startProcess(t, server.Addr(), server.Prefix(), pg.URL(), fault+":kill")
		w.say("name %d v1", id)
		w.dies()
		took = append(took, s.becomes(t, id, "v1"))
		s.warm(t, id, "v1")
	}
	s.until(t, 0, openRows)
	t.Logf("right after %v", took)
	if worst := slices.Max(took); worst > 5*limit { // other tests keep the machine busy
		t.Errorf("it took %s", worst)
	}
	if n := s.box.Stats().Delivered; n == 0 {
		t.Error("nothing was delivered")
	}
}

// History 6: the writer dies with its COMMIT on the way. A reader takes a lease, reads the old row and fills it; only then
// does the server commit, and nobody is left to invalidate.
func TestHistory6WriterKilledWhileCommitting(t *testing.T) {
	t.Parallel()
	pg, server := newDatabase(t), testenv.Redis(t)
	proxy := faults.NewPostgresProxy(t, pg.Addr())
	s := serve(t, pg.URL(), server.Client(t), server.Prefix(), outbox.Config{})
	held, release := make(chan struct{}), make(chan struct{})
	w := startProcess(t, server.Addr(), server.Prefix(), pg.URLThrough(proxy.Addr()), "")
	var once sync.Once
	proxy.OnClientBytes(func(_ int, b []byte) faults.Action {
		if faults.IsQuery(b, "COMMIT") {
			once.Do(func() {
				close(held)
				<-release
			})
		}
		return faults.Forward
	})
	w.say("name 1 v1")
	<-held
	w.kill()
	s.warm(t, 1, "v0")
	close(release)
	s.becomes(t, 1, "v1")
	s.warm(t, 1, "v1")
}

// The store is away while a process writes, and has not come back when the process dies: what was pending in its memory is
// lost, and another process's relay has it from the table.
func TestStoreAwayAndWriterKilled(t *testing.T) {
	t.Parallel()
	pg, server := newDatabase(t), testenv.NewRedis(t)
	// Reader and writer have ways of their own to the store, so that the reader keeps trusting what it has.
	proxy := faults.NewProxy(t, server.Addr())
	s := serve(t, pg.URL(), server.Client(t), server.Prefix(), outbox.Config{Grace: 3 * time.Second})
	w := startProcess(t, proxy.Addr(), server.Prefix(), pg.URL(), "")
	s.warm(t, 1, "v0")
	proxy.Refuse()
	proxy.Cut()
	w.say("name 1 v1")
	if got := w.answer(); got == "named <nil> 0" {
		t.Fatal("nothing is pending")
	}
	w.kill()
	if got := s.name(t, 1); got != "v0" {
		t.Fatalf("the reader has %s before anybody told it", got)
	}
	s.becomes(t, 1, "v1")

	// And with the store itself gone for all.
	w = startProcess(t, server.Addr(), server.Prefix(), pg.URL(), "")
	s.warm(t, 2, "v0")
	server.Stop()
	w.say("name 2 v1")
	if got := w.answer(); got == "named <nil> 0" {
		t.Fatal("nothing is pending")
	}
	w.kill()
	server.Continue()
	s.becomes(t, 2, "v1")
	s.warm(t, 2, "v1")
	s.until(t, 0, openRows)
}

// Another service has a namespace and a store of its own, and writes the same table: each hears of the other's writes.
func TestTwoServices(t *testing.T) {
	t.Parallel()
	pg, one, two := newDatabase(t), testenv.Redis(t), testenv.NewRedis(t)
	a := serve(t, pg.URL(), one.Client(t), one.Prefix(), outbox.Config{})
	b := serve(t, pg.URL(), two.Client(t), two.Prefix(), outbox.Config{})
	for i := range 5 {
		was, is := fmt.Sprint("v", i), fmt.Sprint("v", i+1)
		a.warm(t, 1, was)
		b.warm(t, 1, was)
		if _, err := []*service{a, b}[i%2].cached.Modify(t.Context(), 1, func(g *guest) error { g.Name = is; return nil }); err != nil {
			t.Fatal(err)
		}
		if got := []*service{a, b}[i%2].name(t, 1); got != is {
			t.Fatalf("the writer itself has %s", got)
		}
		a.becomes(t, 1, is)
		b.becomes(t, 1, is)
	}
	a.until(t, 0, openRows)
}

// The old value of an index is told too: a guest's entry under the address that it had.
func TestRelayEndsEntriesUnderOldValues(t *testing.T) {
	t.Parallel()
	pg, server, other := newDatabase(t), testenv.Redis(t), testenv.NewRedis(t)
	a := serve(t, pg.URL(), server.Client(t), server.Prefix(), outbox.Config{})
	b := serve(t, pg.URL(), other.Client(t), other.Prefix(), outbox.Config{})
	find := func(mail string) bool {
		_, err := b.cached.FindBy(t.Context(), byMail.Eq(mail))
		return err == nil
	}
	if !find("g1@example.com") || find("new@example.com") {
		t.Fatal("the guests are not as they should be")
	}
	if _, err := a.cached.Modify(t.Context(), 1, func(g *guest) error { g.Email = "new@example.com"; return nil }); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old address finds nobody", func() bool { return !find("g1@example.com") })
	eventually(t, "the new address finds the guest", func() bool { return find("new@example.com") })
}

// What a write costs is one INSERT more.
func TestCost(t *testing.T) {
	t.Parallel()
	pg, server := newDatabase(t), testenv.Redis(t)
	proxy := faults.NewPostgresProxy(t, pg.Addr())
	s := serve(t, pg.URLThrough(proxy.Addr()), server.Client(t), server.Prefix(), outbox.Config{Poll: time.Hour})
	// write returns what was sent from BEGIN to COMMIT. The acknowledgement is not part of the write.
	write := func(name string) (words []string) {
		var mu sync.Mutex
		in := 0 // the transaction's connection
		proxy.OnClientBytes(func(conn int, b []byte) faults.Action {
			text, ok := faults.QueryText(b)
			mu.Lock()
			defer mu.Unlock()
			if ok && strings.HasPrefix(text, "BEGIN") {
				in = conn
			}
			if ok && conn == in {
				words = append(words, strings.Fields(text)[0])
			}
			if faults.IsQuery(b, "COMMIT") {
				in = 0
			}
			return faults.Forward
		})
		defer proxy.OnClientBytes(nil)
		if _, err := s.cached.Modify(t.Context(), 1, func(g *guest) error { g.Name = name; return nil }); err != nil {
			t.Fatal(err)
		}
		return words
	}
	with := write("with")
	s.until(t, 0, openRows) // it was acknowledged: nothing else is under way
	if err := s.box.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	without := write("without")
	if want := slices.Insert(slices.Clone(without), len(without)-1, "INSERT"); !slices.Equal(with, want) {
		t.Errorf("with an outbox    %v\nwithout an outbox %v", with, without)
	}
}

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
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks/outbox"
)

// capturedHotel has guests whose rows are changed by all that can change a row beside a repository.
func capturedHotel(t *testing.T) *testenv.PG {
	t.Helper()
	up, _ := migrations.Capture(guests.Relation(), false)
	return testenv.PostgresWith(t, guestSchema+`
		CREATE TABLE hotels (id bigint PRIMARY KEY);
		INSERT INTO hotels SELECT generate_series(1, 9);
		ALTER TABLE guests ADD hotel bigint REFERENCES hotels ON DELETE CASCADE;
		UPDATE guests SET hotel = 1 WHERE id BETWEEN 11 AND 19;
		CREATE TABLE bills (guest bigint);
		CREATE FUNCTION bill() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE guests SET name = 'billed' WHERE id = NEW.guest; RETURN NULL; END $$;
		CREATE TRIGGER bill AFTER INSERT ON bills FOR EACH ROW EXECUTE FUNCTION bill();
		CREATE TABLE dues (guest bigint);
		CREATE CONSTRAINT TRIGGER due AFTER INSERT ON dues DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION bill();
		`+outbox.Schema(t)+up)
}

// Each of these changes a guest, and what the cache has of the guest.
var captures = []struct {
	what, statement string
	id              int64
	want            string
}{
	{"an update", "UPDATE guests SET name = 'new' WHERE id = 1", 1, "new"},
	{"many", "UPDATE guests SET name = 'all' WHERE id < 99", 2, "all"},
	{"a cascade", "DELETE FROM hotels WHERE id = 1", 11, ""},
	{"a trigger", "INSERT INTO bills VALUES (3)", 3, "billed"},
	{"a deferred trigger", "INSERT INTO dues VALUES (4)", 4, "billed"},
	{"a row that was not there", "INSERT INTO guests (id, email, name) VALUES (100, 'late@example.com', 'late')", 100, "late"},
	{"a function", "DO $$ BEGIN EXECUTE 'UPDATE guests SET name = ''done'' WHERE id = 5'; END $$", 5, "done"},
	{"TRUNCATE", "TRUNCATE hotels CASCADE", 6, ""},
}

func (s *service) cachedName(id int64) string {
	g, err := s.cached.Find(context.Background(), id)
	if err != nil {
		return ""
	}
	return g.Name
}

// In a transaction of the program itself, whatever it sends, readers have the new row when Run returns. The relay sleeps.
func TestCaptureInOwnTransaction(t *testing.T) {
	t.Parallel()
	pg, server := capturedHotel(t), testenv.Redis(t)
	s := serve(t, pg.URL(), server.Client(t), server.Prefix(), outbox.Config{Poll: time.Hour})
	for _, c := range captures {
		before := s.cachedName(c.id)
		s.cachedName(c.id)
		if _, err := s.db.ExecContext(t.Context(), c.statement); err != nil {
			t.Fatal(c.what, err)
		}
		if got := s.cachedName(c.id); got != c.want || before == c.want {
			t.Errorf("%s: guest %d was %q and is %q, want %q", c.what, c.id, before, got, c.want)
		}
	}
	s.until(t, 0, openRows)
	if n := s.box.Stats().Delivered; n != 0 {
		t.Errorf("%d rows were left to the relay", n)
	}
}

// From anybody else, the relay has it.
func TestCaptureOfOthers(t *testing.T) {
	t.Parallel()
	pg, server := capturedHotel(t), testenv.Redis(t)
	s := serve(t, pg.URL(), server.Client(t), server.Prefix(), outbox.Config{})
	var worst time.Duration
	for _, c := range captures {
		s.cachedName(c.id)
		s.conn.MustExec(c.statement)
		start := time.Now()
		eventually(t, c.what, func() bool { return s.cachedName(c.id) == c.want })
		worst = max(worst, time.Since(start))
	}
	s.until(t, 0, openRows)
	t.Logf("at most %s", worst)
	if worst > 5*limit {
		t.Errorf("it took %s", worst)
	}
}

// What a write costs is one round trip more, to ask; the row that it writes down itself is empty.
func TestCaptureCost(t *testing.T) {
	t.Parallel()
	pg, server := capturedHotel(t), testenv.Redis(t)
	proxy := faults.NewPostgresProxy(t, pg.Addr())
	s := serve(t, pg.URLThrough(proxy.Addr()), server.Client(t), server.Prefix(), outbox.Config{Poll: time.Hour})
	var mu sync.Mutex
	var words []string
	in := 0
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
	_, err := s.cached.Modify(t.Context(), 1, func(g *guest) error { g.Name = "new"; return nil })
	proxy.OnClientBytes(nil)
	mu.Lock()
	defer mu.Unlock()
	n := len(words)
	if err != nil || n < 4 || !slices.Equal(words[n-3:], []string{"SELECT", "INSERT", "COMMIT"}) || strings.Count(strings.Join(words, " "), "INSERT") != 1 {
		t.Errorf("%v: %v", words, err)
	}
	if n := 0; s.conn.Get(&n, "SELECT count(*) FROM aside_outbox WHERE tx IS NOT NULL AND changes <> '[]'") != nil || n != 0 {
		t.Errorf("%d rows say again what was captured", n)
	}
}

// A second service declares an index that the triggers do not know yet: no entry of it survives a write.
func TestCaptureBehindADeploy(t *testing.T) {
	t.Parallel()
	bare := model.MustTable(model.Spec[guest, int64]{Name: "guests", Key: "id"}).Relation()
	up, _ := migrations.Capture(bare, false)
	pg, server := testenv.PostgresWith(t, guestSchema+outbox.Schema(t)+up), testenv.Redis(t)
	s := serve(t, pg.URL(), server.Client(t), server.Prefix(), outbox.Config{})
	find := func(mail string) bool {
		_, err := s.cached.FindBy(t.Context(), byMail.Eq(mail))
		return err == nil
	}
	for i := range 2 {
		was, is := fmt.Sprintf("g%d@example.com", i+1), fmt.Sprintf("new%d@example.com", i)
		if !find(was) || find(is) {
			t.Fatal("the guests are not as they should be")
		}
		s.conn.MustExec("UPDATE guests SET email = $1 WHERE email = $2", is, was)
		eventually(t, "the old address finds nobody", func() bool { return !find(was) })
		eventually(t, "the new address finds the guest", func() bool { return find(is) })
	}
}

package outbox

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// ear takes down the changes of each transaction.
type ear struct {
	mu   sync.Mutex
	told []string
}

func (e *ear) Ended(_ context.Context, o txhooks.Outcome, changes txhooks.Changes) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	for c := range changes.All() {
		for _, img := range []model.Image{c.Before, c.After} {
			if img != nil {
				e.told = append(e.told, textOf(img))
			}
		}
	}
	return 0
}

func (e *ear) take() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	slices.Sort(e.told)
	told := strings.Join(e.told, " ")
	e.told = nil
	return told
}

func (s *studio) captures(t *testing.T, rel *model.Relation) {
	t.Helper()
	up, _ := migrations.Capture(rel, false)
	s.conn.MustExec(up)
}

// A transaction hears of what it did beside its repositories, once, and acknowledges it with its own row, which does not say
// it again.
func TestCapturedIsReported(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	s.captures(t, songs.Relation())
	c := newConsumer("a")
	s.start(t, c, quietly())
	e := new(ear)
	t.Cleanup(s.db.Subscribe(e))
	err := s.db.Run(t.Context(), func(ctx context.Context) error {
		if err := s.tryRecord(ctx, 1); err != nil { // reported as by a repository
			return err
		}
		for _, statement := range []string{
			"INSERT INTO songs VALUES (2, 'two')",
			"UPDATE songs SET title = 'due' WHERE id = 2",
			"SAVEPOINT x", "INSERT INTO songs VALUES (3, 'three')", "ROLLBACK TO x",
		} {
			if _, err := s.db.ExecContext(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := e.take(); got != "1=t1 2=due 2=two 2=two" {
		t.Errorf("told %s", got)
	}
	if n := s.count(t, "SELECT count(*) FROM aside_outbox WHERE tx IS NOT NULL AND changes = '[]'"); n != 1 {
		t.Error("the witness says again what triggers have written")
	}
	s.until(t, 0, openRows)
	if told := c.heard(); len(told) > 0 {
		t.Errorf("the relay delivered %q", told)
	}
	// What is not committed is told as any change that is not.
	_ = s.db.Run(t.Context(), func(ctx context.Context) error {
		if _, err := s.db.ExecContext(ctx, "DELETE FROM songs"); err != nil {
			return err
		}
		return errBad
	})
	if n := s.count(t, openRows); n != 0 || e.take() != "" {
		t.Errorf("%d rows after a rollback", n)
	}
}

// Of a strict table the witness says it again: who delivers it releases the intents of the transaction, which no trigger knows.
func TestWitnessSaysStrictChangesAgain(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	title := model.NewUnique[song, string]("title")
	strict := model.MustTable(model.Spec[song, int64]{Name: "songs", Key: "id", Strict: true, Indexes: model.Indexes[song]{title}})
	s.captures(t, strict.Relation())
	c := newConsumer("a")
	c.table = strict.Relation()
	s.start(t, c, fast())
	s.unfinished(t)
	if _, err := s.db.ExecContext(t.Context(), "INSERT INTO songs VALUES (1, 'one')"); err != nil {
		t.Fatal(err)
	}
	s.until(t, 0, openRows)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.told, []string{"1=one", "1=one"}) || c.ids[0] == c.ids[1] {
		t.Errorf("told %v of %x", c.told, c.ids)
	}
}

// A row that lacks the column of an index is not acknowledged by the transaction that it was captured in: its relay ends all
// entries of the index.
func TestCapturedWithoutAColumn(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	s.captures(t, bare.Relation())
	c := newConsumer("a")
	s.start(t, c, fast())
	s.record(t, 1)
	eventually(t, "the index is retired", func() bool { return c.ended() == "title" })
	s.until(t, 0, openRows)
	s.captures(t, songs.Relation())
	s.record(t, 2)
	s.until(t, 0, openRows)
	// A column that is gone has all of the table ended.
	s.conn.MustExec("ALTER TABLE songs DROP title")
	if _, err := s.db.ExecContext(t.Context(), "DELETE FROM songs WHERE id = 2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the table is retired", func() bool { return strings.HasPrefix(c.ended(), "title id title") })
}

// The process finds out that a table is captured while it runs, and that it no longer is; before and after, and where only
// other tables are, nothing is sent for it.
func TestCaptureIsNoticed(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	s.conn.MustExec("CREATE TABLE others (id bigint PRIMARY KEY)")
	s.captures(t, others.Relation())
	o := s.start(t, newConsumer("a"), quietly())
	e := new(ear)
	t.Cleanup(s.db.Subscribe(e))
	write := func() string {
		t.Helper()
		if _, err := s.db.ExecContext(t.Context(), "INSERT INTO songs SELECT coalesce(max(id), 0) + 1, 'new' || count(*) FROM songs"); err != nil {
			t.Fatal(err)
		}
		return e.take()
	}
	look := func() {
		t.Helper()
		if _, err := o.writer.look(t.Context(), o.db); err != nil {
			t.Fatal(err)
		}
	}
	if got := write(); got != "" {
		t.Errorf("uncaptured: %s", got)
	}
	s.captures(t, songs.Relation())
	look()
	if got := write(); got != "2=new1" {
		t.Errorf("captured: %s", got)
	}
	o.writer.captured.Store(nil) // as if the database had been away until now
	if got := write(); got != "3=new2" {
		t.Errorf("looked up in the transaction: %s", got)
	}
	_, down := migrations.Capture(songs.Relation(), false)
	s.conn.MustExec(down)
	look()
	if got := write(); got != "" {
		t.Errorf("uncaptured again: %s", got)
	}
}

// The error of a deferred constraint is what COMMIT would have said; nothing is committed.
func TestCapturedAndDeferredConstraint(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	s.captures(t, songs.Relation())
	s.conn.MustExec("CREATE TABLE plays (song bigint REFERENCES songs DEFERRABLE INITIALLY DEFERRED)")
	s.start(t, newConsumer("a"), quietly())
	_, err := s.db.ExecContext(t.Context(), "INSERT INTO plays VALUES (7)")
	state, ok := err.(interface{ SQLState() string }) //nolint:errorlint // as the driver gave it
	if !ok || state.SQLState() != "23503" || s.count(t, "SELECT count(*) FROM plays") != 0 {
		t.Errorf("%T %v", err, err)
	}
}

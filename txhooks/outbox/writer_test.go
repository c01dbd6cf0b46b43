package outbox

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// What a row says is what was reported, and a large transaction is several rows, each of which is its witness.
func TestStageWritesDownEveryChange(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"postgres", "pgx"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			conn := testenv.Open(t, driver, database(t).URL())
			s := &studio{conn, txhooks.New(conn, txhooks.Config{})}
			o := s.start(t, newConsumer("a"), quietly())
			s.unfinished(t)
			const n = 2500
			want := make(map[string]bool)
			if err := s.db.Run(t.Context(), func(ctx context.Context) error {
				if _, err := s.db.ExecContext(ctx, "SELECT set_config('search_path', 'pg_catalog', true)"); err != nil {
					return err
				}
				for i := range int64(n) {
					title := fmt.Sprintf("é\"\\\t<%d", i)
					ch := txhooks.Change{Relation: songs.Relation(), After: image(i, title)}
					switch i % 4 {
					case 1:
						ch.Before, ch.After = ch.After, nil
					case 2:
						ch.Before = ch.After
					case 3:
						ch.Before = image(i, "before")
						want[textOf(ch.Before)] = true
					}
					want[textOf(image(i, title))] = true
					if err := s.db.Changed(ctx, ch); err != nil {
						return err
					}
				}
				return s.db.Changed(ctx, txhooks.Change{Relation: others.Relation(), After: model.Image{{Kind: model.Int, Int: 1}}},
					txhooks.Change{Relation: others.Relation(), After: model.Image{{Kind: model.Text, Text: "\x00"}}})
			}); err != nil {
				t.Fatal(err)
			}
			if n := s.count(t, "SELECT count(*) FROM aside_outbox WHERE tx = (SELECT max(tx::text)::uuid FROM aside_outbox)"); n != 3 {
				t.Errorf("%d rows", n)
			}
			if o.Stats().Staged != 3 {
				t.Errorf("%+v", o.Stats())
			}
			c := newConsumer("a")
			r := open(t, s.url(t)).start(t, c, quietly())
			if n, err := r.Replay(t.Context()); n != 3 || err != nil {
				t.Fatalf("replayed %d: %v", n, err)
			}
			got := make(map[string]bool)
			for _, told := range c.heard() {
				got[told] = true
			}
			for w := range want {
				if !got[w] {
					t.Fatalf("%s was not told", w)
				}
			}
			if len(got) != len(want) || c.ended() != "" {
				t.Errorf("told %d images, want %d; ended %s", len(got), len(want), c.ended())
			}
		})
	}
}

func (s *studio) url(t *testing.T) (url string) {
	t.Helper()
	var port int
	var name string
	if err := s.conn.QueryRow("SELECT inet_server_port(), current_database()").Scan(&port, &name); err != nil {
		t.Fatal(err)
	}
	var user string
	if err := s.conn.Get(&user, "SELECT current_user"); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/%s?sslmode=disable", user, port, name)
}

// Nothing that was not changed is written down, and nothing of what was rolled back.
func TestStageWritesNothing(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	s.start(t, newConsumer("a"), quietly())
	ctx := t.Context()
	_ = s.db.Run(ctx, func(ctx context.Context) error {
		_, err := s.db.ExecContext(ctx, "SELECT 1")
		return err
	})
	_ = s.db.Run(ctx, func(ctx context.Context) error {
		_ = s.db.Changed(ctx, txhooks.Change{Relation: songs.Relation(), After: image(1, "x")})
		return errBad
	})
	if n := s.count(t, "SELECT count(*) FROM aside_outbox"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Two caches in one process write a transaction down once, and both are told.
func TestStageOnceForAllConsumers(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	a, b := newConsumer("a"), newConsumer("b")
	s.start(t, a, fast())
	o := s.start(t, b, fast())
	s.unfinished(t)
	s.record(t, 1)
	a.hears(t, "1=t1")
	b.hears(t, "1=t1")
	s.until(t, 1, doneRows)
	if n := o.Stats().Staged; n != 1 {
		t.Errorf("%d rows", n)
	}
}

// A process without a cache writes down what others are to be told.
func TestWriterWithoutConsumer(t *testing.T) {
	t.Parallel()
	pg := database(t)
	s, c := open(t, pg.URL()), newConsumer("a")
	s.start(t, nil, Config{})
	open(t, pg.URL()).start(t, c, fast())
	s.record(t, 1)
	c.hears(t, "1=t1")
	s.until(t, 1, doneRows)
}

// If the row cannot be written there is no transaction: nobody would be told of it.
func TestStageFails(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	s.start(t, newConsumer("a"), quietly())
	s.conn.MustExec("ALTER TABLE aside_outbox ADD CHECK (false) NOT VALID")
	if err := s.tryRecord(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "aside: outbox: the changes could not be written down") {
		t.Errorf("%v", err)
	}
	if n := s.count(t, "SELECT count(*) FROM songs"); n != 0 {
		t.Errorf("%d rows", n)
	}
}

// Nor if it does not say everything, because part of the changes cannot be read any more. Not parallel: it spoils the files of
// all transactions of this process.
func TestStageNeedsAllChanges(t *testing.T) {
	s := open(t, database(t).URL())
	t.Cleanup(s.db.Subscribe(spoiler{t}))
	s.start(t, newConsumer("a"), quietly())
	err := s.db.Run(t.Context(), func(ctx context.Context) error {
		changes := make([]txhooks.Change, 20_000) // half of them go to a file
		for i := range changes {
			changes[i] = txhooks.Change{Relation: songs.Relation(), After: image(int64(i), "x")}
		}
		return errors.Join(s.tryRecord(ctx, 1), s.db.Changed(ctx, changes...))
	})
	if err == nil || !strings.Contains(err.Error(), "aside: outbox: ") || s.count(t, "SELECT count(*) FROM songs") != 0 {
		t.Errorf("committed with changes that nobody is told of: %v", err)
	}
}

// spoiler empties the files of changes before they are written down.
type spoiler struct{ t *testing.T }

func (spoiler) Ended(context.Context, txhooks.Outcome, txhooks.Changes) int { return 0 }

func (s spoiler) Stage(context.Context, txhooks.Changes) error {
	if runtime.GOOS != "linux" {
		s.t.Skip("open files are found in /proc")
	}
	open, err := os.ReadDir("/proc/self/fd")
	for _, f := range open {
		name := "/proc/self/fd/" + f.Name()
		if to, _ := os.Readlink(name); strings.Contains(to, "aside-changes-") {
			err = errors.Join(err, os.Truncate(name, 0))
		}
	}
	return err
}

func TestStartNeedsItsTables(t *testing.T) {
	t.Parallel()
	s := open(t, testenv.Postgres(t).URL())
	if _, err := Start(s.db, newConsumer("a"), Config{}); err == nil || !strings.Contains(err.Error(), "aside_outbox") {
		t.Errorf("%v", err)
	}
	if _, err := Start(s.db, newConsumer("a"), Config{Keep: time.Second}); err == nil || !strings.Contains(err.Error(), "Config.Keep") {
		t.Errorf("Keep below Doubt: %v", err)
	}
	if _, err := Start(nil, nil, Config{}); err == nil {
		t.Error("no database was accepted")
	}
}

// The answer to COMMIT is lost. The transaction's own row tells what became of it.
func TestResolve(t *testing.T) {
	t.Parallel()
	for name, arm := range map[string]func(p *faults.Proxy){
		"committed":   func(p *faults.Proxy) { p.CutAfterCommit() },
		"rolled back": func(p *faults.Proxy) { p.CutBeforeCommit() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pg := database(t)
			proxy := faults.NewPostgresProxy(t, pg.Addr())
			s := open(t, pg.URLThrough(proxy.Addr()))
			o := s.start(t, newConsumer("a"), quietly())
			var seen ended
			t.Cleanup(s.db.Subscribe(&seen))
			arm(proxy)
			hook := false
			err := s.db.Run(t.Context(), func(ctx context.Context) error {
				txhooks.AfterCommit(ctx, func(context.Context) { hook = true })
				return s.tryRecord(ctx, 1)
			})
			committed := name == "committed"
			if (err == nil) != committed || errors.Is(err, model.ErrInDoubt) || hook != committed || seen.outcome.String() != name {
				t.Errorf("%v, hook %t, told %s", err, hook, seen.outcome)
			}
			if got := o.Stats(); got.Resolved != 1 || got.Unresolved != 0 {
				t.Errorf("%+v", got)
			}
			if n := s.count(t, "SELECT count(*) FROM songs"); (n == 1) != committed {
				t.Errorf("%d rows", n)
			}
		})
	}
}

// A transaction that nobody knows the outcome of is not acknowledged: it may commit after everything was invalidated.
func TestDoubtIsNotAcknowledged(t *testing.T) {
	t.Parallel()
	pg := database(t)
	proxy := faults.NewPostgresProxy(t, pg.Addr())
	s := open(t, pg.URLThrough(proxy.Addr()))
	cfg := quietly()
	cfg.Doubt = -1
	o := s.start(t, newConsumer("a"), cfg)
	proxy.CutAfterCommit()
	if err := s.tryRecord(t.Context(), 1); !errors.Is(err, model.ErrInDoubt) {
		t.Fatalf("%v, want in doubt", err)
	}
	if err := o.Close(t.Context()); err != nil { // which acknowledges what there is
		t.Fatal(err)
	}
	if n := s.count(t, openRows); n != 1 {
		t.Errorf("%d rows are open", n)
	}
}

// ended remembers an outcome.
type ended struct{ outcome txhooks.Outcome }

func (e *ended) Ended(_ context.Context, o txhooks.Outcome, _ txhooks.Changes) int {
	e.outcome = o
	return 0
}

// A COMMIT that is still on its way is waited for: while the transaction runs its row is not there, and that says nothing.
func TestResolveWaitsForTheTransaction(t *testing.T) {
	t.Parallel()
	for _, commits := range []bool{true, false} {
		t.Run(fmt.Sprint(commits), func(t *testing.T) {
			t.Parallel()
			s := open(t, database(t).URL())
			o := s.start(t, newConsumer("a"), quietly())
			tx, changes, s1 := s.underWay(t, o.writer)
			type answer struct {
				o   txhooks.Outcome
				err error
			}
			answers := make(chan answer)
			go func() {
				o, err := o.writer.Resolve(context.Background(), changes)
				answers <- answer{o, err}
			}()
			select {
			case a := <-answers:
				t.Fatalf("transaction %s runs, and the answer is %s, %v", s1.xid, a.o, a.err)
			case <-time.After(100 * time.Millisecond):
			}
			want := txhooks.RolledBack
			if commits {
				want = txhooks.Committed
				_ = tx.Commit()
			} else {
				_ = tx.Rollback()
			}
			if a := <-answers; a.o != want || a.err != nil {
				t.Errorf("%s, %v", a.o, a.err)
			}
		})
	}
}

// underWay is a transaction that has written its row and whose COMMIT has not arrived.
func (s *studio) underWay(t *testing.T, w *writer) (*sql.Tx, txhooks.Changes, stage) {
	t.Helper()
	changes := txhooks.ChangesOf(txhooks.Change{Relation: songs.Relation(), After: image(1, "x")})
	tx, err := s.conn.DB.Begin()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	var at stage
	if err := tx.QueryRow("INSERT INTO aside_outbox (tx, changes) VALUES ($1::text::uuid, '[]') RETURNING xid::text, "+incarnation,
		uuid(changes.ID())).Scan(&at.xid, &at.incarnation); err != nil {
		t.Fatal(err)
	}
	w.remember(changes.ID(), at)
	return tx, changes, at
}

// What runs longer than the bound is not known; nor is anything on a server that is not the one it was.
func TestResolveDoesNotGuess(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	cfg := quietly()
	cfg.Doubt = 2 * time.Second // on a busy machine one question may take half of it
	o := s.start(t, newConsumer("a"), cfg)
	tx, changes, at := s.underWay(t, o.writer)
	if got, err := o.writer.Resolve(t.Context(), changes); got != txhooks.InDoubt || !errors.Is(err, errStillRuns) {
		t.Errorf("%s, %v", got, err)
	}
	_ = tx.Rollback()
	o.writer.doubt = 10 * time.Second // from here on the answer is there at once, on a busy machine a little later
	at.incarnation++
	o.writer.remember(changes.ID(), at)
	if got, err := o.writer.Resolve(t.Context(), changes); got != txhooks.InDoubt || !errors.Is(err, errElsewhere) {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := o.writer.Resolve(t.Context(), txhooks.ChangesOf()); got != txhooks.InDoubt || err != nil {
		t.Errorf("a transaction that is not ours: %s, %v", got, err)
	}
}

// Hazard 6: a transaction that the server has lost in a crash, whose number another one has been given and committed. After
// a restart nobody knows; if a process of the server crashed, all others with it, the answer is still the right one.
func TestResolveDoesNotBelieveNumbers(t *testing.T) {
	t.Parallel()
	pg := testenv.NewPostgres(t, "-c", "wal_writer_delay=10s") // what is not committed is not flushed either
	s := open(t, pg.URL())
	s.conn.MustExec(schema(t))
	cfg := quietly()
	cfg.Doubt = 10 * time.Second
	o := s.start(t, newConsumer("a"), cfg)
	s.conn.SetMaxIdleConns(0) // none survives a crash
	for name, crash := range map[string]func(pid int){
		"all of it": func(int) {
			pg.Kill()
			pg.Start()
		},
		"a process of it": func(pid int) {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		},
	} {
		var changes txhooks.Changes
		for reused := false; !reused; {
			var tx *sql.Tx
			var at stage
			var pid int
			tx, changes, at = s.underWay(t, o.writer)
			if err := tx.QueryRow("SELECT pg_backend_pid()").Scan(&pid); err != nil {
				t.Fatal(err)
			}
			other, err := s.conn.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			crash(pid)
			eventually(t, "the others are cut off", func() bool { return other.PingContext(t.Context()) != nil })
			_ = other.Close()
			lost, err := strconv.Atoi(at.xid)
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "the number is given again, or a later one", func() bool {
				given := 0
				_ = s.conn.Get(&given, "INSERT INTO aside_outbox (changes) VALUES ('[]') RETURNING xid::text")
				reused = given == lost // unless somebody else's COMMIT has flushed the log up to it
				return given >= lost
			})
		}
		want, why := txhooks.InDoubt, errElsewhere
		if name == "a process of it" {
			want, why = txhooks.RolledBack, nil
		}
		if got, err := o.writer.Resolve(t.Context(), changes); got != want || !errors.Is(err, why) {
			t.Errorf("%s: %s, %v", name, got, err)
		}
	}
}

// A stage is forgotten when the transaction is over, and after a while in any case.
func TestStagesAreForgotten(t *testing.T) {
	t.Parallel()
	s := open(t, database(t).URL())
	o := s.start(t, newConsumer("a"), quietly())
	s.record(t, 1)
	w := o.writer
	if len(w.sent)+len(w.old) != 0 {
		t.Errorf("%d remembered", len(w.sent)+len(w.old))
	}
	var ids []txhooks.ID
	for range 3 {
		id := txhooks.ChangesOf().ID()
		ids = append(ids, id)
		w.remember(id, stage{})
		w.turned = w.turned.Add(-2 * rememberFor)
	}
	var known []bool
	for _, id := range ids {
		_, ok := w.recall(id)
		known = append(known, ok)
	}
	if !slices.Equal(known, []bool{false, true, true}) {
		t.Errorf("known: %v", known)
	}
}

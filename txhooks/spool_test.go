package txhooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/lib/pq"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

// many is more changes than are kept in memory, and in several blocks.
const many = 3 * inMemory

// odd is a change unlike its neighbours.
func odd(i int) Change {
	image := func(i int) model.Image {
		return model.Image{
			{Kind: model.Int, Int: int64(i)},
			{Kind: model.Int, Int: math.MinInt64 + int64(i)},
			{},
			{Kind: model.Bool, Int: int64(i % 2)},
			{Kind: model.Text, Text: strings.Repeat("ü", i%50)},
			{Kind: model.Bytes, Text: string([]byte{0, byte(i)})},
		}
	}
	c := Change{Relation: users.Relation()}
	if i%7 == 0 {
		c.Relation = members.Relation()
	}
	switch i % 4 {
	case 0:
		c.Before = image(i)
	case 1:
		c.After = image(i)
	case 2:
		c.Before = image(i)
		c.After = c.Before
	case 3:
		c.Before, c.After = image(i), image(i+1)
	}
	return c
}

func sameChange(a, b Change) bool {
	return a.Relation == b.Relation && slices.Equal(a.Before, b.Before) && (a.Before == nil) == (b.Before == nil) &&
		slices.Equal(a.After, b.After) && (a.After == nil) == (b.After == nil)
}

// A spool is a list that can be cut back, whatever the lengths are.
func TestSpoolIsAList(t *testing.T) {
	t.Parallel()
	for seed := range uint64(6) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := new(spool)
		defer s.end()
		var want []Change
		var marks []spoolMark
		for range 60 {
			switch {
			case rnd.IntN(3) > 0:
				more := make([]Change, rnd.IntN(3000))
				if rnd.IntN(3) == 0 {
					more = more[:len(more)%3]
				}
				for i := range more {
					more[i] = odd(len(want) + i + rnd.IntN(5))
				}
				if err := s.add(more...); err != nil {
					t.Fatal(err)
				}
				want = append(want, more...)
			case rnd.IntN(2) == 0 || len(marks) == 0:
				marks = append(marks, s.mark())
			default:
				i := rnd.IntN(len(marks))
				s.cut(marks[i])
				want = want[:marks[i].n]
				marks = marks[:i]
			}
		}
		changes := Changes{spool: s}
		for range 2 {
			got := slices.Collect(changes.All())
			if !slices.EqualFunc(got, want, sameChange) || changes.Len() != len(want) || changes.Err() != nil {
				t.Fatalf("seed %d: %d changes, Len %d, Err %v; want %d", seed, len(got), changes.Len(), changes.Err(), len(want))
			}
		}
		for range changes.All() {
			break
		}
	}
}

// What a cut leaves of a block is read back from the file, and what is added then follows it.
func TestSpoolCutWithinABlock(t *testing.T) {
	t.Parallel()
	s := new(spool)
	defer s.end()
	for i := range many {
		_ = s.add(odd(i))
	}
	m := s.mark()
	if m.tail == 0 || m.blocks == 0 {
		t.Fatal("not within a block")
	}
	for i := range many {
		_ = s.add(odd(i + 1))
	}
	s.cut(m)
	_ = s.add(odd(5))
	if got := slices.Collect(s.all()); len(got) != many+1 || !sameChange(got[many], odd(5)) || !sameChange(got[many-1], odd(many-1)) {
		t.Errorf("%d changes", len(got))
	}
}

// A file that lost part of what was written to it is no shorter list: Err says so.
func TestSpoolSpoiled(t *testing.T) {
	t.Parallel()
	spoil := map[string]func(s *spool) error{
		"short":   func(s *spool) error { return s.file.Truncate(s.size - 10) },
		"altered": func(s *spool) error { _, err := s.file.WriteAt([]byte{0xff, 0xfe}, 1000); return err },
		"closed":  func(s *spool) error { return s.file.Close() },
	}
	for name, how := range spoil {
		t.Run(name, func(t *testing.T) {
			s := new(spool)
			defer s.end()
			for i := range many {
				_ = s.add(odd(i))
			}
			if err := how(s); err != nil {
				t.Fatal(err)
			}
			changes := Changes{spool: s}
			n := len(slices.Collect(changes.All()))
			if changes.Err() == nil || n < inMemory || n >= many || changes.Len() != many {
				t.Errorf("%d of %d changes, %v", n, changes.Len(), changes.Err())
			}
			if got := changes.Tables(); len(got) != 2 {
				t.Errorf("Tables: %v", got)
			}
		})
	}
	t.Run("cut", func(t *testing.T) {
		s := new(spool)
		defer s.end()
		for i := range many {
			_ = s.add(odd(i))
		}
		m := s.mark()
		for i := range many {
			_ = s.add(odd(i))
		}
		_ = s.file.Truncate(0)
		s.cut(m)
		if s.err() == nil {
			t.Error("a block that is gone was cut without an error")
		}
	})
}

func TestChangesTables(t *testing.T) {
	t.Parallel()
	changes := ChangesOf(odd(1), odd(7), odd(2), change(1))
	if got := changes.Tables(); len(got) != 3 || got[0] != users.Relation() || got[1] != members.Relation() {
		t.Errorf("%v", got)
	}
}

// changed reports many changes, some more of which are undone.
func changed(ctx context.Context, db *DB) error {
	list := make([]Change, 0, 1000)
	for i := range many {
		if list = append(list, change(int64(i))); len(list) == cap(list) {
			if err := db.Changed(ctx, list...); err != nil {
				return err
			}
			list = list[:0]
		}
	}
	err := db.Savepoint(ctx, func(ctx context.Context) error {
		if err := db.Changed(ctx, slices.Repeat([]Change{change(-1)}, many)...); err != nil {
			return err
		}
		return errBoom
	})
	if err != errBoom {
		return fmt.Errorf("Savepoint: %w", err)
	}
	return nil
}

// counter is a Subscriber that reads what it is told twice.
type counter struct {
	t     *testing.T
	ended int
	fail  func()
	keep  bool

	kept    Changes
	release func()
}

func (c *counter) Ended(_ context.Context, o Outcome, changes Changes) int {
	c.ended++
	for range 2 {
		c.check(changes)
	}
	if c.keep {
		c.kept, c.release = changes, changes.Keep()
	}
	if c.fail != nil {
		c.fail()
	}
	return 0
}

func (c *counter) check(changes Changes) {
	i := int64(0)
	for ch := range changes.All() {
		if ch.After[0].Int != i {
			c.t.Errorf("change %d: %v", i, ch)
			return
		}
		i++
	}
	if i != many || changes.Len() != many || changes.Err() != nil {
		c.t.Errorf("%d changes, Len %d, Err %v", i, changes.Len(), changes.Err())
	}
}

// spools counts the files of spools that this process has open.
func spools(t *testing.T) (n int) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("open files are counted in /proc")
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range open {
		if to, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && strings.Contains(to, "aside-changes-") {
			n++
		}
	}
	return n
}

// However a transaction ends, subscribers are told what it changed and the file is closed; nothing is left in the folder.
// (Not parallel: it counts the files of the process.)
func TestSpoolEnds(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	pg := testenv.PostgresWith(t, schema)
	proxy := faults.NewPostgresProxy(t, pg.Addr())
	db := New(testenv.Open(t, "postgres", pg.URLThrough(proxy.Addr())), Config{Logger: silent()})
	panics := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() { _ = recover() }()
			f()
		}()
		<-done
	}
	run := func(fn func(ctx context.Context) error) error {
		return db.Run(t.Context(), func(ctx context.Context) error {
			if err := changed(ctx, db); err != nil {
				return err
			}
			if spools(t) != 1 {
				t.Errorf("%d files are open", spools(t))
			}
			if left, _ := filepath.Glob(folder + "/*"); len(left) > 0 {
				t.Errorf("the file has a name: %s", left)
			}
			return fn(ctx)
		})
	}
	fine := func(context.Context) error { return nil }
	for name, end := range map[string]func(c *counter){
		"commit": func(*counter) {
			if err := run(fine); err != nil {
				t.Error(err)
			}
		},
		"error": func(*counter) {
			if err := run(func(context.Context) error { return errBoom }); err != errBoom {
				t.Error(err)
			}
		},
		"panic": func(*counter) { panics(func() { _ = run(func(context.Context) error { panic("boom") }) }) },
		"Goexit": func(*counter) {
			panics(func() { _ = run(func(context.Context) error { runtime.Goexit(); return nil }) })
		},
		"subscriber panics": func(c *counter) {
			c.fail = func() { panic("boom") }
			if err := run(fine); err != nil {
				t.Error(err)
			}
		},
		"subscriber ends the goroutine": func(c *counter) {
			c.fail = runtime.Goexit
			panics(func() { _ = run(fine) })
		},
		"in doubt": func(*counter) {
			proxy.CutAfterCommit()
			if err := run(fine); !errors.Is(err, model.ErrInDoubt) {
				t.Error(err)
			}
		},
		"retry": func(*counter) {
			n := 0
			err := db.RunWith(t.Context(), Options{Retries: 2}, func(ctx context.Context) error {
				if n++; n > 1 && spools(t) != 0 {
					t.Error("the file of the attempt before is open")
				}
				if err := changed(ctx, db); err != nil || n > 2 {
					return err
				}
				return &pq.Error{Code: "40001"}
			})
			if err != nil || n != 3 {
				t.Errorf("%d attempts, %v", n, err)
			}
		},
		"kept": func(c *counter) {
			c.keep = true
			if err := run(fine); err != nil {
				t.Error(err)
			}
			if spools(t) != 1 {
				t.Error("the file was closed")
			}
			c.check(c.kept)
			c.release()
			c.release()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &counter{t: t}
			defer db.Subscribe(c)()
			end(c)
			if n := spools(t); n != 0 || c.ended != 1 {
				t.Errorf("%d files are open, Ended was called %d times", n, c.ended)
			}
		})
	}
}

// Without a file all of it works the same, in memory.
func TestSpoolWithoutFile(t *testing.T) {
	t.Setenv("TMPDIR", filepath.Join(t.TempDir(), "nowhere"))
	var log bytes.Buffer
	conn := testenv.Open(t, "postgres", testenv.PostgresWith(t, schema).URL())
	db := New(conn, Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	c := &counter{t: t}
	defer db.Subscribe(c)()
	for range 2 {
		if err := db.Run(t.Context(), func(ctx context.Context) error { return changed(ctx, db) }); err != nil {
			t.Fatal(err)
		}
	}
	if c.ended != 2 || db.SpoolFailures() != 2 || strings.Count(log.String(), "temporary file") != 1 {
		t.Errorf("%d ended, %d counted, log: %s", c.ended, db.SpoolFailures(), log.String())
	}
}

// Touch of more rows than are kept in memory: each row's image from before and from after is reported, those that a
// savepoint undid are not.
func TestTouchMany(t *testing.T) {
	const rows, team = 12_000, 10_500
	for name, tc := range map[string]struct {
		driver string
		ref    model.Ref
	}{"all": {"postgres", users.All()}, "index": {"pgx", byTeam.Eq(7)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := open(t, tc.driver, Config{})
			exec(t, db, t.Context(), `INSERT INTO users SELECT n, n || '@x', CASE WHEN n <= $1 THEN 7 ELSE 8 END FROM generate_series(1, $2::int) n`, team, rows)
			before, after := make(map[int64]string), make(map[int64]string)
			s := subscriberFunc(func(_ context.Context, o Outcome, changes Changes) int {
				for c := range changes.All() {
					if c.Before != nil {
						before[c.Before[0].Int] = c.Before[1].Text
					}
					if c.After != nil {
						after[c.After[0].Int] = c.After[1].Text
					}
				}
				return 0
			})
			defer db.Subscribe(s)()
			err := db.Run(t.Context(), func(ctx context.Context) error {
				err := db.Savepoint(ctx, func(ctx context.Context) error {
					exec(t, db, ctx, `UPDATE users SET email = 'undone' || id`)
					_ = Touch(ctx, users.All())
					exec(t, db, ctx, `UPDATE users SET credits = 1`)
					return errBoom
				})
				if err != errBoom {
					return err
				}
				if err := Touch(ctx, tc.ref, users.Row(rows), users.Row(rows+1)); err != nil {
					return err
				}
				exec(t, db, ctx, `UPDATE users SET email = 'new' || id, team_id = 9 WHERE team_id = 7`)
				exec(t, db, ctx, `DELETE FROM users WHERE id = 5`)
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			for id := range int64(team) {
				id++
				want := fmt.Sprintf("new%d", id)
				if id == 5 {
					want = ""
				}
				if b, a := before[id], after[id]; b != fmt.Sprintf("%d@x", id) || a != want {
					t.Fatalf("row %d: %q before, %q after", id, b, a)
				}
			}
			if name == "index" {
				if _, ok := after[rows+1]; !ok || len(before) != team+2 {
					t.Errorf("%d before images; the place without a row: %t", len(before), ok)
				}
			} else if len(before) != rows {
				t.Errorf("%d before images", len(before))
			}
		})
	}
}

type subscriberFunc func(ctx context.Context, o Outcome, changes Changes) int

func (f subscriberFunc) Ended(ctx context.Context, o Outcome, changes Changes) int {
	return f(ctx, o, changes)
}

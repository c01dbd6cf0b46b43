package txhooks

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/model"
)

// participant takes part in everything and takes it down.
type participant struct {
	recorder
	db       *DB
	prepare  func(ctx context.Context) error
	stage    func(ctx context.Context) error
	guard    func(ctx context.Context) (time.Time, error)
	resolved Outcome

	prepared, staged []int // how many changes there were
	ids              []ID
}

func (p *participant) Prepare(ctx context.Context, changes Changes) error {
	p.add("prepare")
	p.prepared = append(p.prepared, len(slices.Collect(changes.All())))
	p.ids = append(p.ids, changes.ID())
	if p.prepare != nil {
		return p.prepare(ctx)
	}
	return nil
}

func (p *participant) Stage(ctx context.Context, changes Changes) error {
	p.add("stage")
	p.staged = append(p.staged, changes.Len())
	p.ids = append(p.ids, changes.ID())
	if p.stage != nil {
		return p.stage(ctx)
	}
	return nil
}

func (p *participant) Guard(ctx context.Context, changes Changes) (time.Time, error) {
	p.add("guard")
	p.ids = append(p.ids, changes.ID())
	if p.db.In(ctx) {
		p.add("in the transaction")
	}
	if p.guard != nil {
		return p.guard(ctx)
	}
	return time.Time{}, nil
}

func (p *participant) Resolve(_ context.Context, changes Changes) (Outcome, error) {
	p.add("resolve")
	p.ids = append(p.ids, changes.ID())
	return p.resolved, nil
}

func (p *participant) Settled(_ context.Context, o Outcome, changes Changes, pending int) {
	p.add("settled " + o.String() + " " + strings.Repeat("p", pending))
	p.ids = append(p.ids, changes.ID())
}

func (p *participant) sameID(t *testing.T) {
	t.Helper()
	for _, id := range p.ids {
		if id != p.ids[0] || id == (ID{}) {
			t.Fatalf("identities differ: %x", p.ids)
		}
	}
}

func TestParticipantsTakeTheirTurns(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		p := &participant{db: db, recorder: recorder{pending: 1}}
		p.prepare = func(ctx context.Context) error {
			insert(t, db, ctx, 2) // in the transaction
			return db.Changed(ctx, change(2))
		}
		p.stage = func(ctx context.Context) error {
			insert(t, db, ctx, 3)
			if err := db.Changed(ctx, change(3)); err == nil {
				t.Error("Changed in Stage: no error")
			}
			return nil
		}
		defer db.Subscribe(p)()
		second := &participant{db: db}
		defer db.Subscribe(second)()
		if err := db.Run(t.Context(), func(ctx context.Context) error {
			BeforeCommit(ctx, func(context.Context) error { p.add("before"); return nil })
			AfterCommit(ctx, p.hook("after"))
			insert(t, db, ctx, 1)
			return db.Changed(ctx, change(1))
		}); err != nil {
			t.Fatal(err)
		}
		p.want(t, "before", "prepare", "stage", "guard", "subscriber committed", "settled committed p", "after")
		second.want(t, "prepare", "stage", "guard", "subscriber committed", "settled committed p")
		if !slices.Equal(p.prepared, []int{1}) || !slices.Equal(second.prepared, []int{2}) || !slices.Equal(p.staged, []int{2}) {
			t.Errorf("changes seen: %v, %v, %v", p.prepared, second.prepared, p.staged)
		}
		p.sameID(t)
		wantNotes(t, db, "1 2 3")
	})
}

// Where nothing was written there is nothing to take part in.
func TestNothingToTakePartIn(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		p := &participant{db: db}
		defer db.Subscribe(p)()
		for _, test := range []struct {
			opts Options
			fn   func(ctx context.Context) error
		}{
			{Options{}, func(context.Context) error { return nil }},
			{Options{ReadOnly: true}, func(ctx context.Context) error { _, err := db.ExecContext(ctx, "SELECT 1"); return err }},
		} {
			if err := db.RunWith(t.Context(), test.opts, test.fn); err != nil {
				t.Fatal(err)
			}
			p.want(t)
		}
	})
}

// An error of each of them rolls back; after a Guard was called, Ended hears of everything, so that it can take back what the
// Guard did.
func TestParticipantsRefuse(t *testing.T) {
	refuse := func(context.Context) error { return errBoom }
	for name, test := range map[string]struct {
		arm  func(p *participant)
		want []string
		err  error
		told int
	}{
		"prepare": {func(p *participant) { p.prepare = refuse }, []string{"prepare", "subscriber rolled back", "settled rolled back "}, errBoom, 1},
		"stage":   {func(p *participant) { p.stage = refuse }, []string{"prepare", "stage", "subscriber rolled back", "settled rolled back "}, errBoom, 1},
		"guard": {
			func(p *participant) {
				p.guard = func(context.Context) (time.Time, error) { return time.Time{}, errBoom }
			},
			[]string{"prepare", "stage", "guard", "subscriber rolled back", "settled rolled back "},
			errBoom, 2,
		},
		"too late": {
			func(p *participant) { p.guard = func(context.Context) (time.Time, error) { return time.Now(), nil } },
			[]string{"prepare", "stage", "guard", "subscriber rolled back", "settled rolled back "},
			errLate, 2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			everyDriver(t, func(t *testing.T, db *DB) {
				p := &participant{db: db}
				test.arm(p)
				defer db.Subscribe(p)()
				err := db.Run(t.Context(), func(ctx context.Context) error {
					insert(t, db, ctx, 1)
					if err := Touch(ctx, notesTable.Row(7)); err != nil {
						return err
					}
					return db.Changed(ctx, change(1))
				})
				if !errors.Is(err, test.err) {
					t.Errorf("Run: %v", err)
				}
				p.want(t, test.want...)
				if got := len(p.take()); got != test.told {
					t.Errorf("%d changes told, want %d", got, test.told)
				}
				wantNotes(t, db, "")
				idle(t, db)
			})
		})
	}
}

// COMMIT is sent while both clocks say that there is time: the monotonic one stands still while a virtual machine is
// suspended, and the other one may be set.
func TestBothClocksCount(t *testing.T) {
	for _, test := range []struct {
		wall, monotonic time.Duration
		late            bool
	}{
		{time.Hour, time.Hour, false},
		{-time.Hour, time.Hour, true},
		{time.Hour, -time.Hour, true},
	} {
		until := time.Now().Add(test.wall)
		(*[2]int64)(unsafe.Pointer(&until))[1] += int64(test.monotonic - test.wall) // the monotonic clock alone
		if err := (&transaction{until: until}).inTime(); errors.Is(err, errLate) != test.late {
			t.Errorf("%+v: %v", test, err)
		}
	}
}

// An attempt that is retried never was, but what its Guard did has to be taken back.
func TestRetriedAttemptsAreUnguarded(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		p := &participant{db: db}
		attempts := 0
		p.guard = func(context.Context) (time.Time, error) {
			if attempts == 1 {
				return time.Time{}, serialization{}
			}
			return time.Time{}, nil
		}
		defer db.Subscribe(p)()
		if err := db.RunWith(t.Context(), Options{Retries: 1}, func(ctx context.Context) error {
			attempts++
			AfterEnd(ctx, p.end("end"))
			insert(t, db, ctx, 1)
			return db.Changed(ctx, change(1))
		}); err != nil {
			t.Fatal(err)
		}
		p.want(t, "prepare", "stage", "guard", "subscriber rolled back", "settled rolled back ",
			"prepare", "stage", "guard", "subscriber committed", "settled committed ", "end committed")
		if p.ids[0] == p.ids[len(p.ids)-1] {
			t.Error("two attempts have one identity")
		}
	})
}

type serialization struct{}

func (serialization) Error() string    { return "could not serialize access" }
func (serialization) SQLState() string { return "40001" }

// What a Resolver is certain of is the outcome.
func TestResolve(t *testing.T) {
	for _, test := range []struct {
		o     Outcome
		arm   func(*faults.Proxy) *faults.Fault
		err   string
		lines []string
	}{
		{Committed, (*faults.Proxy).CutAfterCommit, "", []string{"subscriber committed", "settled committed ", "after", "end committed"}},
		{RolledBack, (*faults.Proxy).CutBeforeCommit, "aside: rolled back", []string{"subscriber rolled back", "settled rolled back ", "end rolled back"}},
		{InDoubt, (*faults.Proxy).CutAfterCommit, "commit in doubt", []string{"subscriber in doubt", "settled in doubt ", "end in doubt"}},
		{0, (*faults.Proxy).CutAfterCommit, "commit in doubt", []string{"subscriber in doubt", "settled in doubt ", "end in doubt"}},
	} {
		t.Run(test.o.String(), func(t *testing.T) {
			onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, _ *sqlx.DB) {
				db.conn.SetMaxOpenConns(1) // the one of the transaction must be free to ask with
				p := &participant{db: db, resolved: test.o}
				defer db.Subscribe(p)()
				test.arm(proxy)
				err := db.Run(t.Context(), func(ctx context.Context) error {
					AfterCommit(ctx, p.hook("after"))
					AfterEnd(ctx, p.end("end"))
					insert(t, db, ctx, 1)
					return db.Changed(ctx, change(1))
				})
				if test.err == "" && err != nil || err != nil && !strings.HasPrefix(err.Error(), test.err) || test.err != "" && err == nil {
					t.Errorf("Run: %v", err)
				}
				if errors.Is(err, model.ErrInDoubt) != (test.o != Committed && test.o != RolledBack) {
					t.Errorf("Run: %v", err)
				}
				p.want(t, append([]string{"prepare", "stage", "guard", "resolve"}, test.lines...)...)
				p.sameID(t)
			})
		})
	}
}

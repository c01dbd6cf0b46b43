package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/txhooks"
)

// What a call costs: round trips to the cache server as its client sends them, commands as the server counts them, and
// statements as the database driver is given them. These are promises of the documentation.
func TestCost(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := testenv.NewRedis(t)
	client := server.Client(t)
	trips := &roundTrips{}
	client.AddHook(trips)
	c := s.cache(t, redisstore.New(client), cachedrepo.Config{Namespace: server.Prefix(), Timeout: patience})
	cached := cachedrepo.Wrap(c, s.plain)
	ctx := t.Context()

	var ids []int64
	for n := range 100 {
		ids = append(ids, s.insert(t, fmt.Sprint("N-", n)).ID)
	}
	// Once, so that the server knows the scripts.
	if _, err := cached.Find(ctx, ids[0]); err != nil {
		t.Fatal(err)
	}
	if err := renameIn(ctx, cached, ids[0], "warm"); err != nil {
		t.Fatal(err)
	}

	find := func(id int64) func() error {
		return func() error { _, err := cached.Find(ctx, id); return err }
	}
	findMany := func() error {
		recs, err := cached.FindMany(ctx, ids)
		if err == nil && len(recs) != len(ids) {
			err = fmt.Errorf("%d rows", len(recs))
		}
		return err
	}
	forget := func(ids ...int64) {
		for _, id := range ids {
			if err := renameIn(ctx, cached, id, fmt.Sprint("forget ", id)); err != nil {
				t.Fatal(err)
			}
		}
	}
	inserted, err := cached.Find(ctx, ids[3])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		name       string
		call       func() error
		trips      [][]string     // each with its commands
		commands   map[string]int // on the server, those within a script included
		statements []string
	}{
		{
			"a miss", find(ids[1]),
			[][]string{{"get"}, {"set"}, {"evalsha"}},
			map[string]int{"get": 2, "set": 2, "evalsha": 1, "time": 1},
			[]string{"SELECT"},
		},
		{
			"a hit", find(ids[1]),
			[][]string{{"get"}},
			map[string]int{"get": 1},
			nil,
		},
		{
			"a miss by unique index", func() error { _, err := cached.FindBy(ctx, bySKU.Eq("N-1")); return err },
			[][]string{{"get"}, {"set"}, {"evalsha"}},
			map[string]int{"get": 2, "set": 2, "evalsha": 1, "time": 1},
			[]string{"SELECT"},
		},
		{
			"a hit by unique index", func() error { _, err := cached.FindBy(ctx, bySKU.Eq("N-1")); return err },
			[][]string{{"get"}},
			map[string]int{"get": 1},
			nil,
		},
		{
			"a miss of a row that is not there", func() error { _ = find(-1)(); return nil },
			[][]string{{"get"}, {"set"}, {"evalsha"}},
			map[string]int{"get": 2, "set": 2, "evalsha": 1, "time": 1},
			[]string{"SELECT"},
		},
		{
			"a hit of a row that is not there", func() error { _ = find(-1)(); return nil },
			[][]string{{"get"}},
			map[string]int{"get": 1},
			nil,
		},
		{"a batch, to fill the store", findMany, nil, nil, []string{"SELECT"}},
		{
			"a batch of 100 hits", findMany,
			[][]string{{"mget"}},
			map[string]int{"mget": 1},
			nil,
		},
		{"three rows change", func() error { forget(ids[7], ids[50], ids[99]); return nil }, nil, nil, nil},
		{
			"a batch of 97 hits and 3 misses", findMany,
			[][]string{{"mget"}, {"evalsha"}, {"evalsha"}},
			map[string]int{"mget": 1, "evalsha": 2, "time": 2, "get": 6, "set": 6},
			[]string{"SELECT"},
		},
		{
			"Insert", func() error { _, err := cached.Insert(ctx, product{SKU: "I-1"}); return err },
			[][]string{{"evalsha"}},
			nil,
			[]string{"BEGIN", "INSERT", "COMMIT"},
		},
		{
			"Modify", func() error { return renameIn(ctx, cached, ids[2], "new") },
			[][]string{{"evalsha"}},
			nil,
			[]string{"BEGIN", "SELECT", "UPDATE", "COMMIT"},
		},
		{
			"Update", func() error { inserted.Name = "new"; _, err := cached.Update(ctx, inserted); return err },
			[][]string{{"evalsha"}},
			nil,
			[]string{"BEGIN", "UPDATE", "COMMIT"},
		},
		{
			"Delete", func() error { return cached.Delete(ctx, ids[4]) },
			[][]string{{"evalsha"}},
			nil,
			[]string{"BEGIN", "DELETE", "COMMIT"},
		},
		{
			"three writes in one transaction", func() error {
				return s.db.Run(ctx, func(ctx context.Context) error {
					for _, id := range ids[10:13] {
						if err := cached.Delete(ctx, id); err != nil {
							return err
						}
					}
					return nil
				})
			},
			[][]string{{"evalsha"}},
			nil,
			[]string{"BEGIN", "DELETE", "DELETE", "DELETE", "COMMIT"},
		},
		{
			"reads in a transaction", func() error {
				return s.db.Run(ctx, func(ctx context.Context) error { _, err := cached.Find(ctx, ids[1]); return err })
			},
			nil,
			map[string]int{},
			[]string{"BEGIN", "SELECT", "COMMIT"},
		},
	} {
		s.sent.take()
		trips.take()
		server.ResetCommands(t)
		if err := want.call(); err != nil {
			t.Fatalf("%s: %v", want.name, err)
		}
		commands, got, statements := server.Commands(t), trips.take(), s.sent.take()
		maps.DeleteFunc(commands, func(name string, _ int) bool { // what counting costs, and new connections
			return slices.Contains([]string{"hello", "info", "config|resetstat", "client|setinfo", "client|maint_notifications", "auth", "select"}, name)
		})
		t.Logf("%-34s %v, server %v, %v", want.name+":", got, commands, statements)
		if want.trips != nil && !slices.EqualFunc(got, want.trips, slices.Equal) {
			t.Errorf("%s: round trips %v, want %v", want.name, got, want.trips)
		}
		if want.commands != nil && !maps.Equal(commands, want.commands) {
			t.Errorf("%s: commands %v, want %v", want.name, commands, want.commands)
		}
		if (want.trips != nil || want.statements != nil) && !slices.Equal(statements, want.statements) {
			t.Errorf("%s: statements %v, want %v", want.name, statements, want.statements)
		}
	}
}

// What strict mode adds to a write: one statement, and one round trip before COMMIT. Reads cost what they cost, and so do
// writes to tables that are not strict.
func TestStrictCost(t *testing.T) {
	t.Parallel()
	s := newShop(t)
	server := testenv.NewRedis(t)
	client := server.Client(t)
	trips := &roundTrips{}
	client.AddHook(trips)
	w := s.strictly(t, redisstore.New(client), server.Prefix(), cachedrepo.Config{})
	ctx := t.Context()
	p, q := s.insert(t, "A-1"), s.insert(t, "A-2")
	w.reads(t, p.ID, "old")
	w.rename(t, p.ID, "warm") // the scripts are known now

	once := errors.New("changed my mind")
	for _, want := range []struct {
		name       string
		call       func() error
		trips      int
		statements []string
	}{
		{"a miss", func() error { _, err := w.Find(ctx, q.ID); return err }, 3, []string{"SELECT"}},
		{"a hit", func() error { _, err := w.Find(ctx, q.ID); return err }, 1, nil},
		{"Insert", func() error { _, err := w.Insert(ctx, product{SKU: "I-1"}); return err }, 2, []string{"BEGIN", "INSERT", "DO", "COMMIT"}},
		{"Modify", func() error { return renameIn(ctx, w, p.ID, "new") }, 2, []string{"BEGIN", "SELECT", "UPDATE", "DO", "COMMIT"}},
		{"Delete", func() error { return w.Delete(ctx, q.ID) }, 2, []string{"BEGIN", "DELETE", "DO", "COMMIT"}},
		{
			"three writes in one transaction", func() error {
				return w.db.Run(ctx, func(ctx context.Context) error {
					for _, name := range []string{"a", "b", "c"} {
						if err := renameIn(ctx, w, p.ID, name); err != nil {
							return err
						}
					}
					return nil
				})
			}, 2, []string{"BEGIN", "SELECT", "UPDATE", "SELECT", "UPDATE", "SELECT", "UPDATE", "DO", "COMMIT"},
		},
		{
			"hand-written SQL", func() error {
				return w.db.Run(ctx, func(ctx context.Context) error {
					if err := txhooks.Touch(ctx, strictProducts.Row(p.ID)); err != nil {
						return err
					}
					_, err := w.db.ExecContext(ctx, `UPDATE products SET name = 'd' WHERE id = $1`, p.ID)
					return err
				})
			}, 2, []string{"BEGIN", "SELECT", "UPDATE", "DO", "SELECT", "COMMIT"},
		},
		{
			"a rollback", func() error {
				err := w.db.Run(ctx, func(ctx context.Context) error { return errors.Join(renameIn(ctx, w, p.ID, "e"), once) })
				if errors.Is(err, once) {
					return nil
				}
				return fmt.Errorf("not rolled back: %w", err)
			}, 0, []string{"BEGIN", "SELECT", "UPDATE", "ROLLBACK"},
		},
		{
			"reads and other tables in a transaction", func() error {
				return w.db.Run(ctx, func(ctx context.Context) error {
					if _, err := w.Find(ctx, p.ID); err != nil {
						return err
					}
					_, err := w.db.ExecContext(ctx, `CREATE TABLE other (id int)`)
					return err
				})
			}, 0, []string{"BEGIN", "SELECT", "CREATE", "COMMIT"},
		},
	} {
		w.sent.take()
		trips.take()
		if err := want.call(); err != nil {
			t.Fatalf("%s: %v", want.name, err)
		}
		got, statements := trips.take(), w.sent.take()
		if len(got) != want.trips || !slices.Equal(statements, want.statements) {
			t.Errorf("%s: round trips %v, want %d; statements %v, want %v", want.name, got, want.trips, statements, want.statements)
		}
	}
	w.lostNothing(t)
}

// roundTrips notes what a client sends: each command, or each pipeline with its commands.
type roundTrips struct {
	mu  sync.Mutex
	all [][]string
}

func (r *roundTrips) note(cmds ...redis.Cmder) {
	names := make([]string, len(cmds))
	for i, cmd := range cmds {
		names[i] = cmd.Name()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, names)
}

func (r *roundTrips) take() [][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	return all
}

func (r *roundTrips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (r *roundTrips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		r.note(cmd)
		return next(ctx, cmd)
	}
}

func (r *roundTrips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		r.note(cmds...)
		return next(ctx, cmds)
	}
}

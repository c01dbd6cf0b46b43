package txhooks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/model"
)

// touching runs fn in a transaction and returns the changes that a subscriber is told of, sorted.
func touching(t *testing.T, db *DB, fn func(ctx context.Context) error) string {
	t.Helper()
	r := &recorder{}
	defer db.Subscribe(r)()
	if err := db.Run(t.Context(), fn); err != nil {
		t.Error(err)
	}
	changes := r.take()
	slices.Sort(changes)
	return strings.Join(changes, " ")
}

func TestTouchImages(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7), (2, 'b@x', 7), (3, 'c@x', 8), (4, 'd@x', NULL)`)
		exec(t, db, t.Context(), `INSERT INTO club."Member" VALUES (7, 1, 'ann'), (7, 2, 'bob')`)
		key := func(team, id int64) model.Ref { return members.Row(memberKey{Member: id, Team: team}) }
		for _, tc := range []struct {
			name  string
			refs  model.Refs
			query string // empty: none
			want  string
		}{
			{"row", model.Refs{users.Row(1)}, `UPDATE users SET email = 'a2@x', team_id = 8 WHERE id = 1`, "1,a@x,7>1,a2@x,8"},
			{"column without index", model.Refs{users.Row(1)}, `UPDATE users SET credits = 1 WHERE id = 1`, "1,a@x,7>1,a@x,7"},
			{"unique", model.Refs{byEmail.Eq("a@x")}, `UPDATE users SET email = 'a2@x' WHERE email = 'a@x'`, "1,a@x,7>1,a2@x,7"},
			{"many", model.Refs{byTeam.Eq(7)}, `UPDATE users SET team_id = 9 WHERE team_id = 7`, "1,a@x,7>1,a@x,9 2,b@x,7>2,b@x,9"},
			{"newly there", model.Refs{byTeam.Eq(8)}, `UPDATE users SET team_id = 8 WHERE id = 1`, ">1,a@x,8 3,c@x,8>3,c@x,8"},
			{"delete", model.Refs{byTeam.Eq(7), users.Row(1)}, `DELETE FROM users WHERE team_id = 7`, "1,a@x,7> 2,b@x,7>"},
			{"null", model.Refs{users.Row(4)}, `UPDATE users SET team_id = 1 WHERE id = 4`, "4,d@x,NULL>4,d@x,1"},
			{"insert", model.Refs{users.Row(5)}, `INSERT INTO users VALUES (5, 'e@x', 7)`, ">5,e@x,7"},
			{"no row", model.Refs{users.Row(99)}, `DELETE FROM users WHERE id = 99`, "99,NULL,NULL>99,NULL,NULL"},
			{"no statement", model.Refs{users.Row(1)}, "", ">1,a@x,7"},
			{"all", model.Refs{users.Row(1), users.All()}, `DELETE FROM users WHERE id < 4`, "1,a@x,7> 2,b@x,7> 3,c@x,8> 4,d@x,NULL>4,d@x,NULL"},
			{"only a key", model.Refs{notesTable.Row(1), notesTable.Row(2), notesTable.Row(1)}, "SELECT 1", "1>1 2>2"},
			{"composite", model.Refs{key(7, 1), key(7, 2)}, `UPDATE club."Member" SET nick = nick || '!'`, "7,1,ann>7,1,ann! 7,2,bob>7,2,bob!"},
			{"two tables", model.Refs{users.Row(1), byNick.Eq("bob")}, `WITH d AS (DELETE FROM users WHERE id = 1) DELETE FROM club."Member" WHERE nick = 'bob'`, "1,a@x,7> 7,2,bob>"},
			{"moved key", model.Refs{users.Row(1), users.Row(100)}, `UPDATE users SET id = 100 WHERE id = 1`, "1,a@x,7> >100,a@x,7"},
		} {
			var want []string
			if tc.want != "" {
				want = strings.Split(tc.want, " ")
			}
			slices.Sort(want)
			got := touching(t, db, func(ctx context.Context) error {
				exec(t, db, ctx, "DELETE FROM users WHERE id = 77") // not the next statement: the one before
				if err := Touch(ctx, tc.refs...); err != nil {
					return err
				}
				if tc.query != "" {
					exec(t, db, ctx, tc.query)
				}
				BeforeCommit(ctx, func(context.Context) error { return nil })
				return nil
			})
			if got != strings.Join(want, " ") {
				t.Errorf("%s: %s\nwant %s", tc.name, got, tc.want)
			}
			exec(t, db, t.Context(), `DELETE FROM users`)
			exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7), (2, 'b@x', 7), (3, 'c@x', 8), (4, 'd@x', NULL)`)
			exec(t, db, t.Context(), `UPDATE club."Member" SET nick = CASE member WHEN 1 THEN 'ann' ELSE 'bob' END`)
			if tc.name == "two tables" {
				exec(t, db, t.Context(), `INSERT INTO club."Member" VALUES (7, 2, 'bob')`)
			}
		}
	})
}

// The before image is that of the transaction's begin of interest, however often the row changes and is touched.
func TestTouchSeveralTimes(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7)`)
		got := touching(t, db, func(ctx context.Context) error {
			for _, email := range []string{"b@x", "c@x"} {
				if err := Touch(ctx, users.Row(1)); err != nil {
					return err
				}
				exec(t, db, ctx, `UPDATE users SET email = $1 WHERE id = 1`, email)
			}
			exec(t, db, ctx, `INSERT INTO users VALUES (2, 'd@x', 7)`)
			if err := Touch(ctx, users.Row(2)); err != nil {
				return err
			}
			BeforeCommit(ctx, func(ctx context.Context) error {
				exec(t, db, ctx, `INSERT INTO users VALUES (3, 'e@x', 7)`)
				return Touch(ctx, users.Row(3))
			})
			return nil
		})
		if want := "1,a@x,7>1,c@x,7 2,d@x,7>2,d@x,7 >3,e@x,7"; sorted(got) != sorted(want) {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

func sorted(s string) string {
	parts := strings.Fields(s)
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

// What goes past the statement methods is not seen, so there the images are read at once.
func TestTouchWithTx(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7), (2, 'b@x', 7)`)
		got := touching(t, db, func(ctx context.Context) error {
			if err := Touch(ctx, users.Row(1)); err != nil {
				return err
			}
			tx, _ := db.Tx(ctx)
			if _, err := tx.Exec(`UPDATE users SET email = 'a2@x' WHERE id = 1`); err != nil {
				return err
			}
			if err := Touch(ctx, users.Row(2)); err != nil {
				return err
			}
			_, err := tx.Exec(`UPDATE users SET email = 'b2@x' WHERE id = 2`)
			return err
		})
		if want := "1,a@x,7>1,a2@x,7 2,b@x,7>2,b2@x,7"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
		got = touching(t, db, func(ctx context.Context) error {
			stmt, err := db.PrepareContext(ctx, `UPDATE users SET email = $1 WHERE id = 1`)
			if err != nil {
				return err
			}
			if err := Touch(ctx, users.Row(1)); err != nil {
				return err
			}
			_, err = stmt.ExecContext(ctx, "a3@x")
			return err
		})
		if want := "1,a2@x,7>1,a3@x,7"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

// Rows touched outside a savepoint stay locked when it is undone: their before images must stay true.
func TestTouchKeepsLocksOverSavepoint(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7), (2, 'b@x', 7)`)
		locked := func(id int) bool {
			_, err := db.ExecContext(context.Background(), `SELECT FROM users WHERE id = $1 FOR NO KEY UPDATE NOWAIT`, id)
			return sqlState(err) == "55P03"
		}
		got := touching(t, db, func(ctx context.Context) error {
			if err := Touch(ctx, users.Row(1)); err != nil {
				return err
			}
			_ = db.Savepoint(ctx, func(ctx context.Context) error {
				_ = Touch(ctx, users.Row(2))
				exec(t, db, ctx, `UPDATE users SET email = email || id`)
				return errBoom
			})
			if !locked(1) || locked(2) {
				t.Errorf("locked: %t and %t, want true and false", locked(1), locked(2))
			}
			exec(t, db, ctx, `UPDATE users SET email = 'a2@x' WHERE id = 1`)
			return nil
		})
		if want := "1,a@x,7>1,a2@x,7"; got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	})
}

func TestTouchMistakes(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		stray := model.NewIndex[user, int64]("team_id")
		err := db.Run(t.Context(), func(ctx context.Context) error {
			if err := Touch(ctx, stray.Eq(1)); err == nil || !strings.Contains(err.Error(), "belongs to no table") {
				t.Errorf("an index of no table: %v", err)
			}
			if err := Touch(ctx, model.One[user]{}); err == nil {
				t.Error("an empty ref was taken")
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		// The table is not there: the statement that the reads come before is not sent, and COMMIT is not either.
		exec(t, db, t.Context(), "DROP TABLE users")
		err = db.Run(t.Context(), func(ctx context.Context) error {
			if err := Touch(ctx, users.Row(1)); err != nil {
				t.Error(err)
			}
			if _, err := db.ExecContext(ctx, "INSERT INTO note VALUES (1, '')"); sqlState(err) != "42P01" {
				t.Errorf("ExecContext: %v", err)
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "users") {
			t.Errorf("Run: %v", err)
		}
		wantNotes(t, db, "")
	})
}

// What could not be read stays to be read: no later statement changes rows whose before images are missing.
func TestTouchReadFails(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `ALTER TABLE users ALTER email DROP NOT NULL`)
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, NULL, 7)`) // the record has no place for this NULL
		err := db.Run(t.Context(), func(ctx context.Context) error {
			_ = Touch(ctx, users.Row(1))
			for range 2 {
				_, err := db.ExecContext(ctx, `UPDATE users SET email = 'a@x'`)
				if err == nil || !strings.Contains(err.Error(), "reading what was touched of users") {
					t.Errorf("ExecContext: %v", err)
				}
			}
			return nil
		})
		if err == nil {
			t.Error("Run: no error")
		}
	})
}

// Transfers between the same two rows in opposite directions wait for each other; they do not deadlock.
func TestOppositeTransfers(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7, 100), (2, 'b@x', 7, 100)`)
		var both sync.WaitGroup
		for worker := range 4 {
			from, to := int64(1), int64(2)
			if worker%2 == 1 {
				from, to = to, from
			}
			both.Go(func() {
				for range 25 {
					err := db.Run(context.Background(), func(ctx context.Context) error {
						if err := Touch(ctx, users.Row(from), users.Row(to)); err != nil {
							return err
						}
						if _, err := db.ExecContext(ctx, `UPDATE users SET credits = credits - 1 WHERE id = $1`, from); err != nil {
							return err
						}
						_, err := db.ExecContext(ctx, `UPDATE users SET credits = credits + 1 WHERE id = $1`, to)
						return err
					})
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		both.Wait()
	})
}

// The lock is the one of an UPDATE that leaves the key alone: rows that refer to the touched one can be inserted.
func TestTouchDoesNotBlockForeignKeys(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users VALUES (1, 'a@x', 7)`)
		exec(t, db, t.Context(), `CREATE TABLE post (user_id bigint REFERENCES users)`)
		_ = touching(t, db, func(ctx context.Context) error {
			_ = Touch(ctx, users.Row(1))
			exec(t, db, ctx, "SELECT 1")
			return db.Run(context.Background(), func(other context.Context) error {
				exec(t, db, other, `SET LOCAL lock_timeout = '2s'`)
				exec(t, db, other, `INSERT INTO post VALUES (1)`)
				return nil
			})
		})
	})
}

// Thousands of places are read in several statements, and each row once.
func TestTouchInChunks(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		exec(t, db, t.Context(), `INSERT INTO users SELECT n, n || '@x', n % 10 FROM generate_series(1, 2500) n`)
		refs := model.Refs{byTeam.Eq(3), byEmail.Eq("13@x")}
		const ids = 66_000 // more than a statement has arguments
		for id := range int64(ids) {
			refs = append(refs, users.Row(ids-id))
		}
		r := &recorder{}
		defer db.Subscribe(r)()
		err := db.Run(t.Context(), func(ctx context.Context) error {
			if err := Touch(ctx, refs...); err != nil {
				return err
			}
			exec(t, db, ctx, `UPDATE users SET team_id = team_id + 1`)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(r.changes) != ids {
			t.Errorf("%d changes", len(r.changes))
		}
		for _, c := range r.changes {
			if c.Before[0].Int > 2500 { // no row
				continue
			}
			if c.Before[2].Int+1 != c.After[2].Int || c.Before[0] != c.After[0] {
				t.Fatalf("%v", c)
			}
		}
	})
}

// Touch reads when the next statement comes, not before.
func TestTouchIsLazy(t *testing.T) {
	onTheWire(t, func(t *testing.T, db *DB, proxy *faults.Proxy, _ *sqlx.DB) {
		var wire journal
		proxy.OnClientBytes(func(_ int, b []byte) faults.Action {
			if sql, ok := faults.QueryText(b); ok {
				verb, _, _ := strings.Cut(strings.ToUpper(sql), " ")
				wire.add(verb)
			}
			return faults.Forward
		})
		err := db.Run(t.Context(), func(ctx context.Context) error {
			if err := Touch(ctx, users.Row(1), notesTable.Row(1)); err != nil {
				return err
			}
			wire.add("touched")
			exec(t, db, ctx, "DELETE FROM users")
			exec(t, db, ctx, "INSERT INTO note VALUES (1, '')")
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		wire.want(t, "BEGIN", "touched", "SELECT", "DELETE", "INSERT", "SELECT", "COMMIT")
	})
}

func TestSelectImages(t *testing.T) {
	t.Parallel()
	rel := members.Relation()
	key := func(team, id int64) touch {
		data, _ := members.Row(memberKey{Member: id, Team: team}).Place().Data(nil)
		return touch{rel: rel, access: rel.Key, data: data}
	}
	nick := touch{rel: rel, access: byNick.Access(), data: []model.Datum{{Kind: model.Text, Text: "x"}}}
	query, args := selectImages(&group{rel: rel}, []touch{key(7, 1), key(7, 2), nick}, true)
	want := `SELECT "team", "member", "nick" FROM "club"."Member" WHERE ("member", "team") IN (($1, $2), ($3, $4)) OR ("nick") IN (($5)) ORDER BY "member", "team" FOR NO KEY UPDATE`
	if query != want || fmt.Sprint(args) != "[1 7 2 7 x]" {
		t.Errorf("%s %v\nwant %s", query, args, want)
	}
}

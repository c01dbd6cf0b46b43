package txwatch_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/txwatch"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const schema = `
	CREATE TABLE note (id bigint PRIMARY KEY, body text);
	CREATE TABLE free (id bigint);
	CREATE SCHEMA club;
	CREATE TABLE club."Member" (id bigint PRIMARY KEY, nick text);`

type note struct {
	ID   int64  `db:"id"`
	Body string `db:"body"`
}

type member struct {
	ID   int64  `db:"id"`
	Nick string `db:"nick"`
}

var (
	notes   = model.MustTable(model.Spec[note, int64]{Name: "note", Key: "id"})
	members = model.MustTable(model.Spec[member, int64]{Name: "club.Member", Key: "id"})
)

// watched is a pool on one connection, so that what the watch remembers of it would show in the next test of a case.
type watched struct {
	*testing.T
	pool *sqlx.DB
	db   *txhooks.DB

	mu   sync.Mutex
	seen []string
}

func (w *watched) report(_ context.Context, write txwatch.Write) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if write.Query == "" {
		w.Error("no query")
	}
	w.seen = append(w.seen, write.String())
}

// want compares what was reported since the last call.
func (w *watched) want(what string, lines ...string) {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Equal(w.seen, lines) {
		w.Errorf("%s: reported %q, want %q", what, w.seen, lines)
	}
	w.seen = nil
}

func (w *watched) ok(err error) {
	w.Helper()
	if err != nil {
		w.Error(err)
	}
}

func everyDriver(t *testing.T, every int, test func(w *watched)) {
	t.Parallel()
	for _, name := range []string{"postgres", "pgx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var inner driver.Connector
			var err error
			if url := testenv.PostgresWith(t, schema).URL(); name == "pgx" {
				config, parseErr := pgx.ParseConfig(url)
				if parseErr != nil {
					t.Fatal(parseErr)
				}
				inner = stdlib.GetConnector(*config)
			} else if inner, err = pq.NewConnector(url); err != nil {
				t.Fatal(err)
			}
			w := &watched{T: t}
			w.pool = sqlx.NewDb(sql.OpenDB(txwatch.Connector(inner, txwatch.Config{
				Tables: model.Tables{notes, members}, Report: w.report, Every: every,
			})), name)
			w.pool.SetMaxOpenConns(1)
			t.Cleanup(func() { w.ok(w.pool.Close()) })
			w.db = txhooks.New(w.pool, txhooks.Config{})
			test(w)
		})
	}
}

const (
	alone  = " outside any transaction"
	inTx   = " in a transaction that is not of txhooks"
	untold = " in a transaction that was not told"
)

func TestStrangersWrites(t *testing.T) {
	everyDriver(t, 1, func(w *watched) {
		ctx := w.Context()
		var id int
		_, err := w.pool.Exec("INSERT INTO note VALUES ($1, 'x')", 1)
		w.ok(err)
		w.want("Exec", "INSERT of note"+alone)
		w.ok(w.pool.Get(&id, "INSERT INTO note VALUES (2, 'x') RETURNING id"))
		w.want("RETURNING", "INSERT of note"+alone)
		_, err = w.pool.NamedExec("UPDATE note SET body = :body WHERE id = :id", note{1, "y"})
		w.ok(err)
		w.want("NamedExec", "UPDATE of note"+alone)
		stmt, err := w.pool.Prepare(`INSERT INTO club."Member" VALUES ($1, 'x')`)
		w.ok(err)
		w.want("Prepare")
		for i := range 2 {
			_, err = stmt.Exec(i)
			w.ok(err)
		}
		w.ok(stmt.Close())
		w.want("a prepared statement", "INSERT of club.Member"+alone, "INSERT of club.Member"+alone)
		_, err = w.pool.Exec("WITH gone AS (DELETE FROM note RETURNING id) INSERT INTO free SELECT id FROM gone")
		w.ok(err)
		w.want("WITH", "DELETE of note"+alone)
		tx := w.pool.MustBegin()
		tx.MustExec(`TRUNCATE free, note, club."Member"`)
		tx.MustExec("MERGE INTO note USING free ON note.id = free.id WHEN MATCHED THEN DO NOTHING")
		w.ok(tx.Commit())
		w.want("a transaction", "TRUNCATE of note"+inTx, "TRUNCATE of club.Member"+inTx, "MERGE of note"+inTx)
		_, err = w.pool.Exec("SELECT 1; INSERT INTO note VALUES (7, ''); UPDATE note SET body = ''")
		w.ok(err)
		w.want("several statements", "INSERT of note"+alone, "UPDATE of note"+alone)
		if w.pool.DriverName() == "postgres" {
			tx := w.pool.MustBegin()
			in, err := tx.Prepare("COPY note (id, body) FROM STDIN")
			w.ok(err)
			for i := range 3 {
				_, err = in.Exec(100+i, "")
				w.ok(err)
			}
			_, err = in.Exec()
			w.ok(err)
			w.ok(tx.Commit())
			w.want("COPY", "COPY of note"+inTx)
		}

		_, err = w.pool.Exec("INSERT INTO free VALUES (1)")
		w.ok(err)
		w.ok(w.pool.Select(&[]note{}, "SELECT * FROM note FOR UPDATE"))
		if _, err := w.pool.Exec("INSERT INTO note VALUES ('no number')"); err == nil {
			w.Error("no error")
		}
		w.ok(w.pool.PingContext(ctx))
		w.want("what is no write, or was refused")
	})
}

func TestOurWrites(t *testing.T) {
	everyDriver(t, 1, func(w *watched) {
		ctx := w.Context()
		write := func(ctx context.Context) error {
			_, err := w.db.ExecContext(ctx, "INSERT INTO note VALUES ((SELECT count(*) FROM note), '')")
			return err
		}
		w.ok(w.db.Run(ctx, func(ctx context.Context) error {
			w.ok(txhooks.Touch(ctx, notes.Row(0)))
			return write(ctx)
		}))
		w.want("a touched row")
		w.ok(w.db.Run(ctx, func(ctx context.Context) error {
			w.ok(write(ctx))
			_ = w.db.Savepoint(ctx, func(ctx context.Context) error {
				w.ok(w.db.Changed(ctx, txhooks.Change{Relation: notes.Relation()}))
				return nil
			})
			return nil
		}))
		w.want("a change that was reported")

		w.ok(write(ctx))
		w.want("a decorator without View.Write", "INSERT of note"+untold)
		w.ok(w.db.Run(ctx, write))
		w.want("the same within Run", "INSERT of note"+untold)
		w.ok(w.db.Run(ctx, func(ctx context.Context) error {
			w.ok(txhooks.Touch(ctx, members.Row(1)))
			return write(ctx)
		}))
		w.want("another table was touched", "INSERT of note"+untold)
		w.ok(w.db.Run(ctx, func(ctx context.Context) error {
			_ = w.db.Savepoint(ctx, func(ctx context.Context) error {
				w.ok(write(ctx))
				return fmt.Errorf("undone")
			})
			_, err := w.db.ExecContext(ctx, "DELETE FROM note WHERE id > 1000")
			return err
		}))
		w.want("nothing was written in the end")
		_ = w.db.Run(ctx, func(ctx context.Context) error {
			w.ok(write(ctx))
			return fmt.Errorf("rolled back")
		})
		w.want("a rollback")
		// The connection is a stranger's again.
		_, err := w.pool.Exec("DELETE FROM note")
		w.ok(err)
		w.want("afterwards", "DELETE of note"+alone)
		err = w.db.Run(ctx, func(ctx context.Context) error {
			tx, _ := w.db.Tx(ctx)
			tx.MustExec("INSERT INTO note VALUES (1, '')")
			tx.MustExec("COMMIT")
			tx.MustExec("INSERT INTO note VALUES (2, '')")
			return nil
		})
		if err == nil {
			w.Error("COMMIT through Tx was not noticed")
		}
		w.want("ended behind Run", "INSERT of note"+untold, "INSERT of note"+inTx)
	})
}

func TestAdoptedWrites(t *testing.T) {
	everyDriver(t, 1, func(w *watched) {
		ctx := w.Context()
		for _, told := range []bool{true, false} {
			tx := w.pool.MustBegin()
			tx.MustExec("DELETE FROM note")
			w.want("before Adopt", "DELETE of note"+inTx)
			inside, adopted, err := w.db.Adopt(ctx, tx)
			w.ok(err)
			w.ok(txhooks.Touch(inside, notes.Row(1)))
			tx.MustExec("INSERT INTO note VALUES (1, '')")
			if told {
				w.ok(adopted.Commit(ctx))
				w.want("after Adopt")
				continue
			}
			w.ok(tx.Commit())
			w.want("committed by its owner", "INSERT of note"+untold)
			_ = adopted.Rollback()
		}
	})
}

// renames is a repository that its author forgot to give the *txhooks.DB to.
type renames struct{ pool *sqlx.DB }

func (r renames) Rename(ctx context.Context, id int64, body string) error {
	_, err := r.pool.ExecContext(ctx, "UPDATE note SET body = $2 WHERE id = $1", id, body)
	return err
}

func TestRepositoryOnAnotherPool(t *testing.T) {
	everyDriver(t, 1, func(w *watched) {
		w.pool.SetMaxOpenConns(2) // with one, it would wait for itself
		w.ok(w.db.Run(w.Context(), func(ctx context.Context) error {
			return renames{w.pool}.Rename(ctx, 1, "new")
		}))
		w.want("within Run, on its context", "UPDATE of note"+alone)
	})
}

func TestSample(t *testing.T) {
	everyDriver(t, 3, func(w *watched) {
		for range 7 {
			_, err := w.pool.Exec("DELETE FROM note")
			w.ok(err)
		}
		w.want("seven", "DELETE of note"+alone, "DELETE of note"+alone)
	})
}

// Whatever database/sql asks a connection for, it finds as it would without the watch.
func TestDriversAbilitiesStay(t *testing.T) {
	everyDriver(t, 1, func(w *watched) {
		ctx := w.Context()
		var list []int64
		var isolation string
		tx, err := w.pool.BeginTxx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true})
		if err != nil {
			w.Fatal(err)
		}
		w.ok(tx.Get(&isolation, "SHOW transaction_isolation"))
		if isolation != "serializable" {
			w.Error(isolation)
		}
		if _, err := tx.Exec("INSERT INTO free VALUES (1)"); err == nil || !strings.Contains(err.Error(), "read-only") {
			w.Errorf("in a read-only transaction: %v", err)
		}
		w.ok(tx.Rollback())
		if w.pool.DriverName() == "pgx" { // its NamedValueChecker takes slices, and its rows give them
			rows, err := w.pool.Query("SELECT unnest($1::bigint[])", []int64{1, 2})
			w.ok(err)
			for rows.Next() {
				var n int64
				w.ok(rows.Scan(&n))
				list = append(list, n)
			}
			w.ok(rows.Err())
			if len(list) != 2 {
				w.Error(list)
			}
		}
		rows, err := w.pool.Query("SELECT 1::bigint AS a")
		w.ok(err)
		types, err := rows.ColumnTypes()
		w.ok(err)
		if types[0].DatabaseTypeName() != "INT8" {
			w.Error(types[0].DatabaseTypeName())
		}
		w.ok(rows.Close())
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := w.pool.ExecContext(cancelled, "SELECT 1"); err == nil {
			w.Error("a cancelled context was not obeyed")
		}
		conn, err := w.pool.Conn(ctx)
		w.ok(err)
		w.ok(conn.Raw(func(c any) error {
			inner := c.(interface{ Unwrap() driver.Conn }).Unwrap()
			if _, ok := inner.(*stdlib.Conn); ok != (w.pool.DriverName() == "pgx") {
				w.Errorf("Unwrap: %T", inner)
			}
			return nil
		}))
		w.ok(conn.Close())
		if w.pool.Driver() == nil {
			w.Error("no driver")
		}
	})
}

func TestConfigIsNeeded(t *testing.T) {
	t.Parallel()
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	txwatch.Connector(nil, txwatch.Config{Tables: model.Tables{notes}})
}

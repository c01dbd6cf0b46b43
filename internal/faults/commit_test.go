package faults

import (
	"database/sql"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/asidego/aside/internal/testenv"
	"github.com/jmoiron/sqlx"
)

const schema = "CREATE TABLE note (body text)"

// begin opens a transaction and inserts a row.
func begin(t *testing.T, db *sqlx.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec("INSERT INTO note VALUES ($1)", "hello"); err != nil {
		t.Fatal(err)
	}
	return tx
}

// The three fates of a COMMIT whose answer never arrives, with both drivers:
// the client gets an error in each, the row is there in two.
func TestCommitFates(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"postgres", "pgx"} {
		for name, tc := range map[string]struct {
			arm  func(*Proxy) *Fault
			rows int
		}{
			"cut before": {(*Proxy).CutBeforeCommit, 0},
			"cut after":  {(*Proxy).CutAfterCommit, 1},
			"swallow":    {(*Proxy).SwallowCommitReply, 1},
		} {
			t.Run(driver+" "+name, func(t *testing.T) {
				t.Parallel()
				pg := testenv.PostgresWith(t, schema)
				proxy := NewPostgresProxy(t, pg.Addr())
				db := testenv.Open(t, driver, pg.URLThrough(proxy.Addr()))
				fault := tc.arm(proxy)
				committed := make(chan error, 1)
				tx := begin(t, db)
				go func() { committed <- tx.Commit() }()
				<-fault.Fired()
				direct := pg.Open(t)
				if name == "swallow" {
					awaitRow(t, direct) // nobody else will say that the server is done
					proxy.Cut()         // or the client would wait for ever
				}
				if err := <-committed; err == nil {
					t.Error("Commit returned nil although its answer was lost")
				}
				var rows int
				if err := direct.Get(&rows, "SELECT count(*) FROM note"); err != nil || rows != tc.rows {
					t.Errorf("%d rows, want %d, %v", rows, tc.rows, err)
				}
				// The fault happens once.
				if err := begin(t, db).Commit(); err != nil {
					t.Errorf("next transaction: %v", err)
				}
			})
		}
	}
}

// awaitRow asks until the row that was committed can be seen.
func awaitRow(t *testing.T, db *sqlx.DB) {
	t.Helper()
	for deadline := time.Now().Add(patient); time.Now().Before(deadline); {
		var there bool
		if err := db.Get(&there, "SELECT EXISTS (SELECT FROM note)"); err != nil {
			t.Fatal(err)
		}
		if there {
			return
		}
	}
	t.Fatal("the row never came")
}

// Hooks of a PostgreSQL proxy see whole messages, so that the statements on the
// wire can be listed.
func TestStatementsOnTheWire(t *testing.T) {
	t.Parallel()
	for _, driver := range []string{"postgres", "pgx"} {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			pg := testenv.PostgresWith(t, schema)
			proxy := NewPostgresProxy(t, pg.Addr())
			var mu sync.Mutex
			var statements []string
			proxy.OnClientBytes(func(_ int, message []byte) Action {
				if text, ok := QueryText(message); ok {
					mu.Lock()
					defer mu.Unlock()
					word, _, _ := strings.Cut(strings.ToUpper(text), " ")
					statements = append(statements, strings.Trim(word, ";"))
				}
				return Forward
			})
			db := testenv.Open(t, driver, pg.URLThrough(proxy.Addr()))
			if err := begin(t, db).Commit(); err != nil {
				t.Fatal(err)
			}
			mu.Lock()
			defer mu.Unlock()
			if want := []string{"BEGIN", "INSERT", "COMMIT"}; !slices.Equal(statements, want) {
				t.Errorf("statements %q, want %q", statements, want)
			}
		})
	}
}

func TestASlowMessageIsPutTogether(t *testing.T) {
	t.Parallel()
	startup := []byte{0, 0, 0, 8, 0, 3, 0, 0}
	commit := append([]byte{'Q', 0, 0, 0, 11}, "COMMIT\x00"...)
	stream := slices.Concat(startup, commit, commit)
	var messages [][]byte
	split := new(postgresMessages).split
	var buffer []byte
	for _, b := range stream { // byte by byte
		buffer = append(buffer, b)
		if n := split(buffer); n > 0 {
			messages = append(messages, slices.Clone(buffer[:n]))
			buffer = buffer[n:]
		}
	}
	if len(messages) != 3 || !IsQuery(messages[1], "commit") || IsQuery(messages[0], "commit") || len(buffer) != 0 {
		t.Errorf("messages %q, rest %q", messages, buffer)
	}
	if IsQuery(messages[1], "ROLLBACK") || IsQuery(nil, "COMMIT") {
		t.Error("IsQuery takes other messages for the one it looks for")
	}
}

package testenv

import (
	"strings"
	"testing"
)

const schema = `
	CREATE TABLE note (id int PRIMARY KEY, body text NOT NULL);
	INSERT INTO note VALUES (1, 'from the template');`

func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	one, two := PostgresWith(t, schema), PostgresWith(t, schema)
	if one.Name() == two.Name() {
		t.Fatalf("two databases named %s", one.Name())
	}
	one.Open(t).MustExec("INSERT INTO note VALUES (2, 'mine')")
	for pg, want := range map[*PG]int{one: 2, two: 1} {
		var got int
		if err := pg.Open(t).Get(&got, "SELECT count(*) FROM note"); err != nil || got != want {
			t.Errorf("%s: %d rows, want %d, %v", pg.Name(), got, want, err)
		}
	}
}

func TestBothDriversReachTheSameDatabase(t *testing.T) {
	t.Parallel()
	pg := Postgres(t)
	pg.Open(t).MustExec("CREATE TABLE empty ()")
	var name, tables string
	err := pg.OpenPgx(t).QueryRow("SELECT current_database(), string_agg(tablename, ' ') FROM pg_tables WHERE schemaname = 'public'").
		Scan(&name, &tables)
	if err != nil || name != pg.Name() || tables != "empty" {
		t.Errorf("database %s with %q, want %s with the one table, %v", name, tables, pg.Name(), err)
	}
}

func TestDatabasesAreMadeInParallelAndDropped(t *testing.T) {
	t.Parallel()
	names := make(chan string, 20)
	t.Run("makers", func(t *testing.T) {
		for range cap(names) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				pg := PostgresWith(t, schema)
				pg.Open(t).MustExec("UPDATE note SET body = ''")
				names <- pg.Name()
			})
		}
	})
	close(names)
	db := Postgres(t).Open(t)
	for name := range names {
		var there bool
		if err := db.Get(&there, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name); err != nil || there {
			t.Errorf("database %s is still there (%v)", name, err)
		}
	}
}

func TestOwnServerIsKilledAndStartedAlone(t *testing.T) {
	t.Parallel()
	neighbour := Postgres(t).Open(t)
	own := NewPostgres(t)
	db := own.Open(t)
	db.MustExec("CREATE TABLE kept ()")
	own.Kill()
	if own.Pid() != 0 {
		t.Errorf("Pid of a killed server: %d", own.Pid())
	}
	if err := db.Ping(); err == nil {
		t.Error("a killed server answers")
	}
	if err := neighbour.Ping(); err != nil {
		t.Errorf("the shared server suffered too: %v", err)
	}
	own.Start()
	if _, err := db.Exec("TABLE kept"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
}

// A failing schema fails each test that asks for it, and names the reason.
func TestFailingSchemaIsReported(t *testing.T) {
	t.Parallel()
	for range 2 {
		probe := &probeTB{TB: t}
		probe.run(func() { PostgresWith(probe, "CREATE TABLE broken (") })
		if !strings.Contains(probe.fatal, "syntax error") {
			t.Errorf("said %q, want the syntax error", probe.fatal)
		}
	}
}

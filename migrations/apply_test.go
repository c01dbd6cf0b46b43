package migrations_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
)

// applyURL makes this test binary one of several processes that migrate at once.
const applyURL = "ASIDE_TEST_MIGRATE"

func TestMain(m *testing.M) {
	if url := os.Getenv(applyURL); url != "" {
		if err := migrations.Apply(context.Background(), url); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	testenv.Main(m)
}

func files(bodies ...string) fs.FS {
	m := fstest.MapFS{}
	for i, body := range bodies {
		m[fmt.Sprintf("%04d_x.up.sql", i+1)] = &fstest.MapFile{Data: []byte(body)}
	}
	return m
}

func rows(t *testing.T, pg *testenv.PG, query string) int {
	t.Helper()
	var n int
	if err := pg.Open(t).Get(&n, query); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestApplyTwice(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	for range 2 {
		if err := migrations.Apply(t.Context(), pg.URL()); err != nil {
			t.Fatal(err)
		}
	}
	if n := rows(t, pg, "SELECT count(*) FROM aside_meta, aside_migrations WHERE NOT dirty"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

func TestFourAtOnce(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	slow := files("SELECT pg_sleep(0.3); CREATE TABLE a ()", "CREATE TABLE b ()")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := migrations.ApplyFS(t.Context(), pg.URL(), slow, "mine"); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), applyURL+"="+pg.URL())
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("a process: %v: %s", err, out)
			}
		})
	}
	wg.Wait()
	if n := rows(t, pg, "SELECT version FROM mine"); n != 2 {
		t.Errorf("version %d", n)
	}
	if n := rows(t, pg, "SELECT version FROM aside_migrations"); n < 1 {
		t.Errorf("own version %d", n)
	}
}

func TestFailureIsReportedAndMarked(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	var bodies []string
	for i := range 20 { // more than golang-migrate reads ahead
		bodies = append(bodies, fmt.Sprintf("CREATE TABLE t%d ()", i))
	}
	bodies[1] = "CREATE TABLE half (); SELECT 1/0"
	err := migrations.ApplyFS(t.Context(), pg.URL(), files(bodies...), "mine")
	if err == nil || !strings.Contains(err.Error(), "migrations: mine: migration failed: division by zero") {
		t.Fatalf("error: %v", err)
	}
	if n := rows(t, pg, "SELECT count(*) FROM pg_tables WHERE tablename IN ('t0', 'half', 't2')"); n != 1 {
		t.Errorf("%d tables, want t0 alone", n)
	}
	err = migrations.ApplyFS(t.Context(), pg.URL(), files(bodies...), "mine")
	if err == nil || !strings.Contains(err.Error(), "version 2 failed earlier and the database is marked dirty") {
		t.Fatalf("error: %v", err)
	}
	pg.Open(t).MustExec("UPDATE mine SET dirty = false, version = 1")
	bodies[1] = "CREATE TABLE whole ()"
	if err := migrations.ApplyFS(t.Context(), pg.URL(), files(bodies...), "mine"); err != nil {
		t.Error(err)
	}
}

func TestDatabaseAheadIsLeftAlone(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	for _, fs := range []fs.FS{files("CREATE TABLE a ()", "CREATE TABLE b ()"), files("CREATE TABLE a ()")} {
		if err := migrations.ApplyFS(t.Context(), pg.URL(), fs, "mine"); err != nil {
			t.Error(err)
		}
	}
	if err := migrations.ApplyFS(t.Context(), pg.URL(), files(), "mine"); err == nil {
		t.Error("no files at all were accepted")
	}
}

func TestContextEndsTheWait(t *testing.T) {
	t.Parallel()
	pg := testenv.Postgres(t)
	done := make(chan error)
	conn, err := pg.Open(t).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "SELECT pg_advisory_lock(7)"); err != nil {
		t.Fatal(err)
	}
	first, cancelFirst := context.WithCancel(t.Context())
	go func() {
		done <- migrations.ApplyFS(first, pg.URL(), files("SELECT 1", "SELECT pg_advisory_lock(7); CREATE TABLE a ()", "CREATE TABLE b ()"), "mine")
	}()
	// Once the first is in its second file it waits for us, and the next caller for it.
	for n := 0; n == 0; {
		if err := conn.QueryRowContext(t.Context(), "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = 7").Scan(&n); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err = migrations.ApplyFS(ctx, pg.URL(), files("SELECT 1"), "mine")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting: %v", err)
	}
	cancelFirst()
	if _, err := conn.ExecContext(t.Context(), "SELECT pg_advisory_unlock(7)"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled while working: %v", err)
	}
	var version int
	var dirty bool
	if err := conn.QueryRowContext(t.Context(), "SELECT version, dirty FROM mine").Scan(&version, &dirty); err != nil || version != 2 || dirty {
		t.Errorf("version %d, dirty %v, %v: the file under way must be finished, the next not begun", version, dirty, err)
	}
}

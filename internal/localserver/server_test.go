package localserver

import (
	"database/sql"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	_ "github.com/lib/pq"
)

func startPostgres(t *testing.T, args ...string) *Postgres {
	t.Helper()
	pg, err := StartPostgres(t.Context(), Options{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, pg.Server) })
	return pg
}

func startRedis(t *testing.T, args ...string) *Redis {
	t.Helper()
	redis, err := StartRedis(t.Context(), Options{Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeServer(t, redis.Server) })
	return redis
}

func closeServer(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.folder.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("folder is still there after Close: %v", err)
	}
}

func openDB(t *testing.T, pg *Postgres) *sql.DB {
	t.Helper()
	db, err := sql.Open("postgres", pg.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec1(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	if _, err := db.Exec(query); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func TestPostgresKeepsCommittedRowsOverAKill(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	db := openDB(t, pg)
	exec1(t, db, "CREATE TABLE kept (id int); INSERT INTO kept VALUES (7)")

	addr, pid := pg.Addr(), pg.Pid()
	if err := pg.Kill(); err != nil {
		t.Fatal(err)
	}
	if got := pg.Pid(); got != 0 {
		t.Errorf("Pid after Kill = %d, want 0", got)
	}
	if err := db.Ping(); err == nil {
		t.Error("a killed server answers")
	}
	if err := pg.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if pg.Addr() != addr || pg.Pid() == pid {
		t.Errorf("restarted as %d on %s, was %d on %s", pg.Pid(), pg.Addr(), pid, addr)
	}
	var id int
	if err := db.QueryRow("SELECT id FROM kept").Scan(&id); err != nil || id != 7 {
		t.Errorf("row after the crash: %d, %v", id, err)
	}
}

func TestPostgresArgsWin(t *testing.T) {
	t.Parallel()
	db := openDB(t, startPostgres(t, "-c", "max_connections=11"))
	var limit, encoding, synchronous string
	err := db.QueryRow(`SELECT current_setting('max_connections'), current_setting('server_encoding'),
		current_setting('synchronous_commit')`).Scan(&limit, &encoding, &synchronous)
	if err != nil || limit != "11" || encoding != "UTF8" || synchronous != "on" {
		t.Errorf("max_connections %s, encoding %s, synchronous_commit %s, %v", limit, encoding, synchronous, err)
	}
}

func TestAFrozenServerIsSilentUntilContinued(t *testing.T) {
	t.Parallel()
	pg := startPostgres(t)
	db := openDB(t, pg)
	exec1(t, db, "SELECT 1") // the connection is open before the freeze
	if err := pg.Stop(); err != nil {
		t.Fatal(err)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := db.Exec("SELECT 1")
		answered <- err
	}()
	select {
	case err := <-answered:
		t.Errorf("a frozen server answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	if err := pg.Continue(); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Errorf("after Continue: %v", err)
	}
}

func TestCloseEndsAFrozenServer(t *testing.T) {
	t.Parallel()
	for _, server := range []*Server{startPostgres(t).Server, startRedis(t).Server} {
		if err := server.Stop(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		closeServer(t, server)
		if took := time.Since(began); took >= closeDeadline {
			t.Errorf("Close took %v: it had to kill", took)
		}
		if err := server.Start(t.Context()); err == nil {
			t.Error("a closed server starts")
		}
	}
}

func TestRedisComesBackOnItsPort(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	for range 3 {
		addr := redis.Addr()
		if err := redis.Kill(); err != nil {
			t.Fatal(err)
		}
		if conn, err := net.Dial("tcp", addr); err == nil {
			conn.Close()
			t.Error("a killed server accepts connections")
		}
		if err := redis.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		if redis.Addr() != addr {
			t.Errorf("came back on %s, was on %s", redis.Addr(), addr)
		}
	}
	if err := redis.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := redis.Kill(); err == nil {
		t.Error("a dead server was killed")
	}
}

func TestStartPrintsTheServersLog(t *testing.T) {
	t.Parallel()
	if _, err := StartRedis(t.Context(), Options{Args: []string{"--no-such-option", "1"}}); err == nil ||
		!strings.Contains(err.Error(), "no-such-option") {
		t.Errorf("Redis: error does not say why: %v", err)
	}
	if _, err := StartPostgres(t.Context(), Options{Args: []string{"-c", "no_such_setting=1"}}); err == nil ||
		!strings.Contains(err.Error(), "no_such_setting") {
		t.Errorf("PostgreSQL: error does not say why: %v", err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := exec.LookPath("redis-server"); err == nil {
		t.Fatal("PATH does not hide the program")
	}
	if executable("/usr/bin/redis-server") || executable("/usr/local/bin/redis-server") || executable("/opt/homebrew/bin/redis-server") {
		return // found in a known folder, as it should be
	}
	if _, err := redisProgram(); !errors.Is(err, ErrNotInstalled) {
		t.Errorf("error = %v, want ErrNotInstalled", err)
	}
}

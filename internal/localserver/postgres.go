package localserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Postgres is a PostgreSQL server of one's own. Its superuser is postgres, and
// it asks nobody for a password: it listens on 127.0.0.1 only.
type Postgres struct {
	*Server
}

// StartPostgres makes a new database cluster, starts a server on it and
// returns once it answers.
func StartPostgres(ctx context.Context, opts Options) (*Postgres, error) {
	dir, err := postgresDir()
	if err != nil {
		return nil, err
	}
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	folder, err := newFolder("postgres", account)
	if err != nil {
		return nil, err
	}
	pg := &Postgres{&Server{
		kind: postgresKind{dir: dir, args: opts.Args}, folder: folder, account: account,
	}}
	if err := initdb(ctx, dir, folder, account); err != nil {
		return nil, errors.Join(err, pg.Close())
	}
	if err := pg.Start(ctx); err != nil {
		return nil, errors.Join(err, pg.Close())
	}
	return pg, nil
}

// URL returns the libpq URL of one of the server's databases.
func (p *Postgres) URL(database string) string {
	return (&url.URL{
		Scheme:   "postgres",
		User:     url.User("postgres"),
		Host:     p.Addr(),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}).String()
}

func initdb(ctx context.Context, dir string, f *folder, account *account) error {
	// C.UTF-8 is not known everywhere (macOS, old C libraries); C is.
	var out []byte
	var err error
	for _, locale := range []string{"C.UTF-8", "C"} {
		cmd := exec.CommandContext(ctx, filepath.Join(dir, "initdb"),
			"--pgdata", f.data(), "--username", "postgres", "--auth", "trust",
			"--encoding", "UTF8", "--locale", locale, "--no-sync", "--no-instructions")
		cmd.Dir = f.data()
		cmd.Env = environment()
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account.credential()}
		if out, err = cmd.CombinedOutput(); err == nil {
			return nil
		}
		if !strings.Contains(string(out), "locale") {
			break
		}
	}
	return fmt.Errorf("localserver: initdb: %w:\n%s", err, out)
}

type postgresKind struct {
	dir  string
	args []string
}

func (k postgresKind) command(f *folder, port int) (string, []string) {
	args := []string{"-D", f.data()}
	for _, setting := range []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(port),
		"unix_socket_directories=", // TCP only: a proxy must be able to sit in between
		"max_connections=300",
		"max_prepared_transactions=20",
		// A crash of the server is part of the tests, a crash of the machine is
		// not. synchronous_commit stays on: what COMMIT waits for is under test.
		"fsync=off",
		"full_page_writes=off",
		"max_wal_size=256MB", // the folder may be memory
		// Clones of templates must not wait for a vacuum of the template.
		"autovacuum=off",
		// Compiling what the catalog is asked for takes longer than to ask.
		"jit=off",
		// Nothing outside the folder, or a kill would leave it there.
		"dynamic_shared_memory_type=mmap",
		"logging_collector=off",
		"log_destination=stderr",
	} {
		args = append(args, "-c", setting)
	}
	return filepath.Join(k.dir, "postgres"), append(args, k.args...)
}

// ready reads postmaster.pid, in which the server says whether it accepts
// connections: its first line is the id, so that a file from before a crash
// does not count, and its eighth the state. Then it tries a connection.
func (k postgresKind) ready(ctx context.Context, f *folder, pid int, address string) bool {
	text, err := os.ReadFile(filepath.Join(f.data(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 || strings.TrimSpace(lines[0]) != strconv.Itoa(pid) {
		return false
	}
	if state := strings.TrimSpace(lines[7]); state != "ready" && state != "standby" {
		return false
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// quit is PostgreSQL's immediate shutdown: no checkpoint, but its shared memory
// is freed, which SIGKILL would leave.
func (k postgresKind) quit() syscall.Signal { return syscall.SIGQUIT }

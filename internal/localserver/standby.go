package localserver

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"syscall"
)

// StartStandby makes a copy of a running server, with pg_basebackup, and starts it as a streaming replica: what is
// committed over there is replayed here a moment later, and it answers reads. It returns once it does.
func StartStandby(ctx context.Context, primary *Postgres, opts Options) (*Postgres, error) {
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
	standby := &Postgres{&Server{
		kind: postgresKind{dir: dir, args: append([]string{
			// Five seconds between two attempts to reach the primary are longer than a test.
			"-c", "wal_retrieve_retry_interval=50ms",
		}, opts.Args...)}, folder: folder, account: account,
	}}
	if err := basebackup(ctx, dir, primary, folder, account); err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	if err := standby.Start(ctx); err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// basebackup copies the primary's data, and writes down where the copy finds the rest and that it is a standby.
func basebackup(ctx context.Context, dir string, primary *Postgres, f *folder, account *account) error {
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "pg_basebackup"),
		"--pgdata", f.data(), "--dbname", primary.URL("postgres"),
		"--wal-method", "stream", "--checkpoint", "fast", "--write-recovery-conf", "--no-sync")
	cmd.Dir = f.data()
	cmd.Env = environment()
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account.credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("localserver: pg_basebackup: %w:\n%s", err, out)
	}
	return nil
}

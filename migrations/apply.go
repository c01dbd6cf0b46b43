package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"math"
	"time"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database/postgres"
	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"
)

// ApplyFS runs the migrations in files that the database at dsn has not seen, in order, and records in table how far it
// came. The files lie in the root of files and are named 0001_anything.up.sql, as golang-migrate wants it. table must
// not be shared with other migrations; its name is used as it is, without schema.
//
// It has a connection of its own, which it closes. Any number of processes may call it at once: one works, the others
// wait and then find nothing to do. A database that is ahead of files, because a newer version of the program was here,
// is left alone. It must not go through PgBouncer in transaction mode, which breaks session locks.
//
// Each file is one statement list and so one transaction, unless it ends transactions itself. If one fails, the files
// before it stay applied and the database is marked: this and all later calls return an error that says what to do.
//
// When ctx ends, ApplyFS stops waiting for others and starts no further file; a file under way is finished, for one that
// is cut off would leave the database marked.
func ApplyFS(ctx context.Context, dsn string, files fs.FS, table string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("migrations: %s: %w", table, err)
		}
	}()
	src, err := iofs.New(files, ".")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	last, err := newest(src)
	if err != nil {
		return err
	}
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	unlock, err := lock(ctx, db, table)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	return apply(ctx, db, src, table, last)
}

// newest returns the highest version among the files.
func newest(src source.Driver) (uint, error) {
	version, err := src.First()
	if err != nil {
		return 0, fmt.Errorf("there are no files: %w", err)
	}
	for {
		next, err := src.Next(version)
		if errors.Is(err, fs.ErrNotExist) {
			return version, nil
		}
		if err != nil {
			return 0, err
		}
		version = next
	}
}

// lock makes the callers for one table in one database take turns. golang-migrate has a lock of its own, but waits for
// it without a context, and gives up after 15 seconds, which a long migration of another process exceeds.
func lock(ctx context.Context, db *sql.DB, table string) (unlock func() error, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, err
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte("github.com/asidego/aside/migrations:" + table)) // never fails
	// The lock is the session's; closing the connection would free it too, but only once the server notices.
	if _, err := conn.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(h.Sum64())); err != nil {
		return nil, errors.Join(withCause(ctx, err), conn.Close())
	}
	return func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, err := conn.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(h.Sum64()))
		return errors.Join(err, conn.Close())
	}, nil
}

// apply runs one file at a time. Up would read ahead, and leave its readers behind when a file fails or ctx ends.
func apply(ctx context.Context, db *sql.DB, src source.Driver, table string, last uint) (err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	driver, err := postgres.WithConnection(ctx, conn, &postgres.Config{MigrationsTable: table})
	if err != nil {
		return errors.Join(withCause(ctx, err), conn.Close())
	}
	// This closes conn. It would close a *sql.DB too if it had been given one.
	defer func() { err = errors.Join(err, driver.Close()) }()
	m, err := migrate.NewWithInstance("iofs", src, "postgres", driver)
	if err != nil {
		return err
	}
	m.LockTimeout = math.MaxInt64 // the lock is ours already
	for {
		version, dirty, err := m.Version()
		switch {
		case errors.Is(err, migrate.ErrNilVersion):
		case err != nil:
			return err
		case dirty:
			return dirtyError{version, table}
		case version >= last:
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := m.Steps(1); err != nil {
			return err
		}
	}
}

// dirtyError says that a file failed, now or before.
type dirtyError struct {
	version uint
	table   string
}

func (e dirtyError) Error() string {
	return fmt.Sprintf("version %d failed earlier and the database is marked dirty: see what it left, mend it, then "+
		"UPDATE %s SET dirty = false, with the version that the database really has", e.version, e.table)
}

// withCause adds the context's error to one of the server's about a statement that was cancelled.
func withCause(ctx context.Context, err error) error {
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("%w (%w)", err, cause)
	}
	return err
}

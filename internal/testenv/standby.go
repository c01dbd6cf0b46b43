package testenv

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/localserver"
)

// Standby is a streaming replica of a server, and on it the copy of one test's database.
type Standby struct {
	control
	server  *localserver.Postgres
	primary *PG
}

// Replicated is a database on a server that has a streaming replica.
type Replicated struct {
	*PG
	Standby *Standby
}

// pair is the process's server with a replica.
var pair struct {
	sync.Mutex // held by the test that uses it: to pause the replay is to pause it for every database
	once       sync.Once
	databases  *databases
	standby    *localserver.Postgres
	err        error
}

func startPair() {
	ctx := context.Background()
	var primary *localserver.Postgres
	if primary, pair.err = localserver.StartPostgres(ctx, localserver.Options{}); pair.err != nil {
		return
	}
	closeAtEnd(primary.Close)
	if pair.databases, pair.err = openDatabases(primary.URL("postgres")); pair.err != nil {
		return
	}
	closeAtEnd(pair.databases.close)
	if pair.standby, pair.err = localserver.StartStandby(ctx, primary, localserver.Options{}); pair.err == nil {
		closeAtEnd(pair.standby.Close)
	}
}

// PostgresReplicated returns a database in which the statements of schema were run, on a server with a streaming replica
// that has it too. One test at a time has the pair; the next waits. A test that ends one of the two servers needs
// NewStandby.
func PostgresReplicated(t TB, schema string) *Replicated {
	t.Helper()
	pair.once.Do(startPair)
	check(t, pair.err)
	pair.Lock()
	t.Cleanup(pair.Unlock)
	template, err := pair.databases.template(schema)
	check(t, err)
	name, err := pair.databases.create(template)
	check(t, err)
	t.Cleanup(func() { check(t, pair.databases.drop(name)) })
	r := &Replicated{PG: &PG{databases: pair.databases, name: name}}
	r.Standby = &Standby{control: control{t: t, server: pair.standby.Server}, server: pair.standby, primary: r.PG}
	t.Cleanup(r.Standby.Resume)
	r.Standby.CatchUp()
	return r
}

// NewStandby starts a streaming replica of a server that belongs to one test. It takes about a second.
func (p *OwnPG) NewStandby(t TB, args ...string) *Standby {
	t.Helper()
	server, err := localserver.StartStandby(context.Background(), p.postgres, localserver.Options{Args: args})
	server = must(t, server, err)
	t.Cleanup(func() { check(t, server.Close()) })
	return &Standby{control: control{t: t, server: server.Server}, server: server, primary: p.PG}
}

// URL returns the libpq URL of the test's database on the replica.
func (s *Standby) URL() string { return s.server.URL(s.primary.name) }

// URLThrough returns the URL with another "host:port", that of a proxy.
func (s *Standby) URLThrough(addr string) string {
	return s.primary.databases.url(s.primary.name, addr)
}

// Addr returns the replica's "host:port".
func (s *Standby) Addr() string { return s.server.Addr() }

// Open connects with lib/pq; the connections are closed when the test ends.
func (s *Standby) Open(t TB) *sqlx.DB {
	t.Helper()
	return Open(t, "postgres", s.URL())
}

// Pause stops the replay: the replica goes on receiving, and answers from what it has replayed so far.
func (s *Standby) Pause() {
	s.t.Helper()
	s.exec("SELECT pg_wal_replay_pause()")
	s.until("the replay to pause", "SELECT pg_get_wal_replay_pause_state() = 'paused'")
}

// Resume lets the replay go on.
func (s *Standby) Resume() {
	s.t.Helper()
	s.exec("SELECT CASE WHEN pg_is_in_recovery() THEN pg_wal_replay_resume() END")
}

// CatchUp returns when the replica has replayed all that is committed now.
func (s *Standby) CatchUp() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ddlTimeout)
	defer cancel()
	var lsn string
	check(s.t, s.primary.databases.admin.QueryRowContext(ctx, "SELECT pg_current_wal_flush_lsn()::text").Scan(&lsn))
	s.until("the replica to catch up", fmt.Sprintf("SELECT pg_last_wal_replay_lsn() >= '%s'::pg_lsn", lsn))
}

// Promote makes the replica a primary of its own.
func (s *Standby) Promote() {
	s.t.Helper()
	s.exec("SELECT pg_promote()")
	s.until("the promotion", "SELECT NOT pg_is_in_recovery()")
}

func (s *Standby) admin(do func(ctx context.Context, db *sqlx.DB) error) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), ddlTimeout)
	defer cancel()
	db, err := sqlx.Open("postgres", s.server.URL("postgres"))
	check(s.t, err)
	defer db.Close()
	check(s.t, do(ctx, db))
}

func (s *Standby) exec(statement string) {
	s.t.Helper()
	s.admin(func(ctx context.Context, db *sqlx.DB) error {
		_, err := db.ExecContext(ctx, statement)
		return err
	})
}

func (s *Standby) until(what, query string) {
	s.t.Helper()
	s.admin(func(ctx context.Context, db *sqlx.DB) error {
		for {
			var yes bool
			if err := db.GetContext(ctx, &yes, query); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			if yes {
				return nil
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("%s: %w", what, ctx.Err())
			case <-time.After(2 * time.Millisecond):
			}
		}
	})
}

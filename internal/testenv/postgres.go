package testenv

import (
	"context"
	"net"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/localserver"
)

// PG is a database that belongs to one test.
type PG struct {
	databases *databases
	name      string
}

// Postgres returns an empty database on the process's shared server, dropped
// when the test ends.
func Postgres(t TB) *PG {
	t.Helper()
	return PostgresWith(t, "")
}

// PostgresWith is Postgres for a database in which the statements of schema
// were run. They run once per process, in a template; each test gets a copy.
func PostgresWith(t TB, schema string) *PG {
	t.Helper()
	databases, err := sharedDatabases()
	databases = must(t, databases, err)
	template, err := databases.template(schema)
	check(t, err)
	name, err := databases.create(template)
	check(t, err)
	t.Cleanup(func() { check(t, databases.drop(name)) })
	return &PG{databases: databases, name: name}
}

// URL returns the database's libpq URL.
func (p *PG) URL() string { return p.databases.url(p.name, "") }

// URLThrough returns the URL with another "host:port", that of a proxy.
func (p *PG) URLThrough(addr string) string { return p.databases.url(p.name, addr) }

// Addr returns the server's "host:port".
func (p *PG) Addr() string {
	port := p.databases.base.Port()
	if port == "" {
		port = "5432"
	}
	return net.JoinHostPort(p.databases.base.Hostname(), port)
}

// Name returns the database's name.
func (p *PG) Name() string { return p.name }

// Open connects with lib/pq; the connections are closed when the test ends.
func (p *PG) Open(t TB) *sqlx.DB {
	t.Helper()
	return Open(t, "postgres", p.URL())
}

// OpenPgx connects with pgx's database/sql driver.
func (p *PG) OpenPgx(t TB) *sqlx.DB {
	t.Helper()
	return Open(t, "pgx", p.URL())
}

// Open connects with the named driver, "postgres" (lib/pq) or "pgx", for tests
// that changed the URL. Nothing is sent before the first use.
func Open(t TB, driver, url string) *sqlx.DB {
	t.Helper()
	db, err := sqlx.Open(driver, url)
	db = must(t, db, err)
	t.Cleanup(func() { check(t, db.Close()) })
	return db
}

// OwnPG is a PostgreSQL server that belongs to one test, and its database
// postgres.
type OwnPG struct {
	*PG
	control
	postgres *localserver.Postgres
}

// NewPostgres starts a server for one test, which may stop, kill and restart
// it. args go to the server's program: "-c", "synchronous_commit=off". It takes
// about a second; prefer Postgres where the server itself is not at stake.
func NewPostgres(t TB, args ...string) *OwnPG {
	t.Helper()
	server, err := localserver.StartPostgres(context.Background(), localserver.Options{Args: args})
	server = must(t, server, err)
	t.Cleanup(func() { check(t, server.Close()) })
	databases, err := openDatabases(server.URL("postgres"))
	databases = must(t, databases, err)
	t.Cleanup(func() { check(t, databases.close()) })
	return &OwnPG{
		PG:      &PG{databases: databases, name: "postgres"},
		control: control{t: t, server: server.Server}, postgres: server,
	}
}

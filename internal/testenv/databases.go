package testenv

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	_ "github.com/lib/pq" // the driver of the administrative connection

	"github.com/asidego/aside/internal/localserver"
)

// Generous: two cores may be busy with several test binaries under -race.
const ddlTimeout = time.Minute

// runID keeps apart what several test processes make on one server.
var runID = "aside_" + strings.ToLower(rand.Text()[:8])

// databases makes and drops databases on one server.
type databases struct {
	admin *sql.DB
	base  *url.URL
	made  atomic.Int64

	mu        sync.Mutex
	templates map[string]func() (string, error) // schema text -> name of the template
}

// sharedDatabases starts the shared server, or finds the one that the
// environment names, once per process.
var sharedDatabases = sync.OnceValues(func() (*databases, error) {
	if text := os.Getenv("ASIDE_TEST_POSTGRES"); text != "" {
		d, err := openDatabases(text)
		if err != nil {
			return nil, fmt.Errorf("ASIDE_TEST_POSTGRES: %w", err)
		}
		closeAtEnd(d.close)
		return d, nil
	}
	server, err := localserver.StartPostgres(context.Background(), localserver.Options{})
	if err != nil {
		return nil, err
	}
	closeAtEnd(server.Close)
	d, err := openDatabases(server.URL("postgres"))
	if err != nil {
		return nil, err
	}
	closeAtEnd(d.close)
	return d, nil
})

func openDatabases(text string) (*databases, error) {
	base, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	admin, err := sql.Open("postgres", text)
	if err != nil {
		return nil, err
	}
	admin.SetMaxIdleConns(1)
	admin.SetMaxOpenConns(4)
	return &databases{admin: admin, base: base, templates: map[string]func() (string, error){}}, nil
}

// close drops the templates and the connection; databases of tests are gone by
// then.
func (d *databases) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, template := range d.templates {
		if name, err := template(); err == nil {
			errs = append(errs, d.drop(name))
		}
	}
	return errors.Join(append(errs, d.admin.Close())...)
}

// create makes a database as a copy of a template and returns its name.
func (d *databases) create(template string) (string, error) {
	name := fmt.Sprintf("%s_%d", runID, d.made.Add(1))
	return name, d.exec(fmt.Sprintf("CREATE DATABASE %q TEMPLATE %q", name, template))
}

// drop removes a database, closing connections that a test left to it.
func (d *databases) drop(name string) error {
	return d.exec(fmt.Sprintf("DROP DATABASE %q WITH (FORCE)", name))
}

func (d *databases) exec(statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), ddlTimeout)
	defer cancel()
	if _, err := d.admin.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}

// template returns the template of a schema, which is made when it is first
// asked for: cloning a schema is many times faster than building it.
func (d *databases) template(schema string) (string, error) {
	if schema == "" {
		return "template0", nil
	}
	d.mu.Lock()
	build, ok := d.templates[schema]
	if !ok {
		build = sync.OnceValues(func() (string, error) { return d.build(schema) })
		d.templates[schema] = build
	}
	d.mu.Unlock()
	return build()
}

func (d *databases) build(schema string) (string, error) {
	name, err := d.create("template0")
	if err != nil {
		return "", err
	}
	if err := d.apply(name, schema); err != nil {
		return "", errors.Join(fmt.Errorf("schema of the test: %w", err), d.drop(name))
	}
	return name, nil
}

// apply runs statements in a database and leaves no connection to it, for a
// template that somebody is connected to cannot be copied.
func (d *databases) apply(name, statements string) (err error) {
	db, err := sql.Open("postgres", d.url(name, ""))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), ddlTimeout)
	defer cancel()
	_, err = db.ExecContext(ctx, statements)
	return err
}

// url returns the URL of a database, at another host:port if one is given.
func (d *databases) url(name, addr string) string {
	u := *d.base
	u.Path = "/" + name
	if addr != "" {
		u.Host = addr
	}
	return u.String()
}

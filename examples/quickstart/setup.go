package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/examples/internal/countsql"
	"github.com/asidego/aside/internal/localserver"
)

// The schema of its own keeps us from anybody's products; if it is there, somebody else's run is not over.
const schema = `
CREATE SCHEMA aside_quickstart;
CREATE TABLE aside_quickstart.products (
	id   bigint PRIMARY KEY,
	sku  text NOT NULL UNIQUE,
	name text NOT NULL
);
INSERT INTO aside_quickstart.products VALUES (1, 'A-1', 'Anvli')`

// show prepares a database and a store, runs the quick start on them, and fails if a call sent more or fewer statements
// than it says.
func show(ctx context.Context, out io.Writer) (err error) {
	url, closePostgres, err := postgres(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closePostgres()) }()
	s, closeStore, err := openStore()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	conn, counter, err := countsql.Open(url)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if _, err := conn.ExecContext(ctx, schema); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop(ctx, conn)) }()

	wrong := 0
	before := counter.Statements()
	step := func(what, got string, want int64) {
		sent := counter.Statements() - before
		verdict := ""
		if sent != want {
			wrong++
			verdict = fmt.Sprintf("  <- %d expected", want)
		}
		fmt.Fprintf(out, "%-38s %-8s statements: %d%s\n", what, got, sent, verdict)
		before = counter.Statements()
	}
	// A namespace of its own: entries of an earlier run would be hits.
	if err := run(ctx, conn, s, "quickstart-"+strings.ToLower(rand.Text()[:8]), step); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%d of the counts are not what they should be", wrong)
	}
	return nil
}

func drop(ctx context.Context, conn *sqlx.DB) error {
	_, err := conn.ExecContext(context.WithoutCancel(ctx), "DROP SCHEMA aside_quickstart CASCADE")
	return err
}

// postgres returns the URL of a database and what stops its server.
func postgres(ctx context.Context) (url string, stop func() error, err error) {
	if url := os.Getenv("DATABASE_URL"); url != "" {
		return url, func() error { return nil }, nil
	}
	server, err := localserver.StartPostgres(ctx, localserver.Options{})
	if errors.Is(err, localserver.ErrNotInstalled) {
		err = fmt.Errorf("%w: run `make setup`, or name a database in DATABASE_URL", err)
	}
	if err != nil {
		return "", nil, err
	}
	return server.URL("postgres"), server.Close, nil
}

// openStore returns the memory of this process, or the Redis in REDIS_URL.
func openStore() (s store.Store, stop func() error, err error) {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		// Good for one process that writes at a time: another one would not hear of our changes.
		return memstore.New(memstore.Config{}), func() error { return nil }, nil
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, nil, fmt.Errorf("REDIS_URL: %w", err)
	}
	redisstore.Tune(options)
	client := redis.NewClient(options)
	return redisstore.New(client), client.Close, nil
}

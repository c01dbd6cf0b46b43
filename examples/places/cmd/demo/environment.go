package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/examples/internal/countsql"
	"github.com/asidego/aside/internal/localserver"
)

// environment is a database and a Redis, ours or given by URL, and what undoes it all.
type environment struct {
	name     string // ours alone: of the database, and first part of every key
	database string // URL
	redis    string // URL
	own      *localserver.Redis
	closers  []func() error
}

// newEnvironment starts private servers, or makes a database of its own on the ones that ASIDE_TEST_POSTGRES and
// ASIDE_TEST_REDIS name.
func newEnvironment(ctx context.Context, say func(string, ...any)) (_ *environment, err error) {
	e := &environment{name: "aside_demo_" + strings.ToLower(rand.Text()[:8])}
	defer func() {
		if errors.Is(err, localserver.ErrNotInstalled) {
			err = fmt.Errorf("%w: run `make setup`", err)
		}
		if err != nil {
			err = errors.Join(err, e.close())
		}
	}()
	server := os.Getenv("ASIDE_TEST_POSTGRES")
	if server == "" {
		pg, err := localserver.StartPostgres(ctx, localserver.Options{})
		if err != nil {
			return nil, err
		}
		e.closers = append(e.closers, pg.Close)
		server = pg.URL("postgres")
		say("PostgreSQL of our own on %s", pg.Addr())
	} else {
		say("PostgreSQL from ASIDE_TEST_POSTGRES, database %s, dropped at the end", e.name)
	}
	if err := e.createDatabase(ctx, server); err != nil {
		return nil, err
	}
	if e.redis = os.Getenv("ASIDE_TEST_REDIS"); e.redis != "" {
		say("Redis from ASIDE_TEST_REDIS, keys %s..., deleted at the end", e.name)
		e.closers = append(e.closers, e.deleteKeys)
		return e, nil
	}
	if e.own, err = localserver.StartRedis(ctx, localserver.Options{}); err != nil {
		return nil, err
	}
	e.closers = append(e.closers, e.own.Close)
	e.redis = e.own.URL()
	say("Redis of our own on %s", e.own.Addr())
	return e, nil
}

func (e *environment) createDatabase(ctx context.Context, server string) error {
	u, err := url.Parse(server)
	if err != nil {
		return fmt.Errorf("ASIDE_TEST_POSTGRES: %w", err)
	}
	admin, err := sqlx.Open("postgres", server)
	if err != nil {
		return err
	}
	e.closers = append(e.closers, admin.Close)
	if _, err := admin.ExecContext(ctx, "CREATE DATABASE "+e.name); err != nil {
		return err
	}
	e.closers = append(e.closers, func() error {
		_, err := admin.Exec("DROP DATABASE " + e.name + " WITH (FORCE)")
		return err
	})
	u.Path = "/" + e.name
	query := u.Query()
	query.Set("binary_parameters", "yes") // a query with arguments is one round trip instead of two
	u.RawQuery = query.Encode()
	e.database = u.String()
	return nil
}

// open returns a pool that counts its statements.
func (e *environment) open() (*sqlx.DB, *countsql.Counter, error) {
	conn, counter, err := countsql.Open(e.database)
	if err != nil {
		return nil, nil, err
	}
	conn.SetMaxOpenConns(32)
	conn.SetMaxIdleConns(32)
	return conn, counter, nil
}

// openRedis returns a client that does not outstay its welcome when Redis is away.
func openRedis(url string) (*redis.Client, error) {
	options, err := redis.ParseURL(url)
	if err != nil {
		return nil, err
	}
	redisstore.Tune(options)
	redis.SetLogger(silent{}) // part 4 knows that Redis is away
	return redis.NewClient(options), nil
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// deleteKeys clears a Redis that outlives us.
func (e *environment) deleteKeys() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := openRedis(e.redis)
	if err != nil {
		return err
	}
	defer client.Close()
	keys := client.Scan(ctx, 0, e.name+"*", 1000).Iterator()
	for keys.Next(ctx) {
		if err := client.Unlink(ctx, keys.Val()).Err(); err != nil {
			return err
		}
	}
	return keys.Err()
}

// close undoes everything, last things first.
func (e *environment) close() error {
	var errs []error
	for i := len(e.closers) - 1; i >= 0; i-- {
		errs = append(errs, e.closers[i]())
	}
	e.closers = nil
	return errors.Join(errs...)
}

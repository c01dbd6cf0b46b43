// Command places serves the cities of the world as JSON from PostgreSQL, with
// or without a cache in front: -cache=off|memory|redis. The handlers are the
// same in all three; see repositories in wiring.go for the whole difference.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/examples/places/httpapi"
	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/examples/places/server"
	"github.com/asidego/aside/txhooks"
)

type settings struct {
	addr, database, cache, redis string
	load                         bool
}

func main() {
	var s settings
	flag.StringVar(&s.addr, "addr", "127.0.0.1:8080", "address to listen on")
	flag.StringVar(&s.database, "database", os.Getenv("DATABASE_URL"), "URL of the PostgreSQL database; default: $DATABASE_URL")
	flag.StringVar(&s.cache, "cache", cacheRedis, "off, redis, or memory: the memory of this process, for ONE process that writes at a time, as another's writes are not heard of")
	flag.StringVar(&s.redis, "redis", os.Getenv("REDIS_URL"), "URL of the Redis for -cache=redis; default: $REDIS_URL")
	flag.BoolVar(&s.load, "load", false, "load the cities first if the table is empty")
	flag.Parse()

	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s, log, func(string) {}); err != nil {
		log.Error("places", "err", err)
		os.Exit(1)
	}
}

// run serves until ctx ends; ready is told the address.
func run(ctx context.Context, s settings, log *slog.Logger, ready func(addr string)) (err error) {
	if s.database == "" {
		return errors.New("no -database and no DATABASE_URL")
	}
	if err := places.Migrate(ctx, s.database); err != nil {
		return err
	}
	conn, err := sqlx.Open("postgres", s.database)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	conn.SetMaxOpenConns(32)
	conn.SetMaxIdleConns(32) // the default of 2 would open a connection for most requests under load
	conn.SetConnMaxLifetime(time.Hour)
	if s.load {
		if err := load(ctx, conn, log); err != nil {
			return err
		}
	}
	repos, err := open(txhooks.New(conn, txhooks.Config{Logger: log}), s, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, repos.close()) }()

	h := httpapi.New(httpapi.Config{
		Cities: repos.cities, Regions: repos.regions, Countries: repos.countries,
		Stats: repos.stats, Logger: log,
	})
	ln, err := net.Listen("tcp", s.addr)
	if err != nil {
		return err
	}
	log.Info("serving", "addr", "http://"+ln.Addr().String(), "cache", s.cache)
	ready(ln.Addr().String())
	return server.Run(ctx, ln, h, log)
}

func load(ctx context.Context, conn *sqlx.DB, log *slog.Logger) error {
	var filled bool
	if err := conn.GetContext(ctx, &filled, "SELECT EXISTS (SELECT FROM cities)"); err != nil || filled {
		return err
	}
	if err := places.Load(ctx, conn, 0, func(done int) { log.Info("loading", "cities", done) }); err != nil {
		return fmt.Errorf("%w; if another process loads too, start this one again", err)
	}
	return nil
}

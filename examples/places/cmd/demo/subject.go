package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

const timeout = time.Second

// subject is a worker's own stack: pool, client, cache.
type subject struct {
	cities  cityStore
	hits    func() int64
	closers []func() error
}

func (t task) open(ctx context.Context) (s *subject, err error) {
	s = &subject{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	env := environment{database: t.Database}
	conn, _, err := env.open()
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, conn.Close)
	client, err := openRedis(t.Redis)
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, client.Close)
	db := txhooks.New(conn, txhooks.Config{})
	plain := repo.New(db, places.Cities)
	if t.Kind == kindNaive {
		n := &naive{plain: plain, client: client, prefix: t.Namespace}
		s.cities, s.hits = n, n.hits.Load
		return s, conn.PingContext(ctx)
	}
	cache, err := cachedrepo.New(db, redisstore.New(client), cachedrepo.Config{
		Namespace: t.Namespace, Tables: places.Tables, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
		// On a busy machine Redis may well not answer within the default of 50 ms. The worker can tell such writes from
		// others, but there should be few: they test nothing.
		Timeout: timeout,
	})
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return cache.Close(ctx)
	})
	s.cities = cachedrepo.Wrap(cache, plain)
	s.hits = func() int64 { return int64(cache.Stats().Hits) }
	return s, conn.PingContext(ctx)
}

func (s *subject) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

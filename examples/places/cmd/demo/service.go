package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/examples/internal/countsql"
	"github.com/asidego/aside/examples/places/httpapi"
	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/examples/places/server"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// service is the places service on a port of this process.
type service struct {
	url        string
	handler    http.Handler
	statements *countsql.Counter
	before     int64             // statements that New sent: it reads the catalog
	cache      *cachedrepo.Cache // nil without
	closers    []func() error
}

// open starts a service. The two kinds differ in the lines under "if cached" and in nothing else.
func (d *demo) open(ctx context.Context, cached bool) (s *service, err error) {
	s = &service{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	conn, counter, err := d.env.open()
	if err != nil {
		return nil, err
	}
	s.statements = counter
	s.closers = append(s.closers, conn.Close)
	db := txhooks.New(conn, txhooks.Config{})
	var cities repo.Repository[places.City, int64] = repo.New(db, places.Cities)
	var regions repo.Repository[places.Region, string] = repo.New(db, places.Regions)
	var countries repo.Repository[places.Country, string] = repo.New(db, places.Countries)
	// Trouble with Redis is part of the show, and counted; the log would only repeat it.
	quiet := slog.New(slog.DiscardHandler)
	stats := func() any { return struct{}{} }

	if cached {
		client, err := openRedis(d.env.redis)
		if err != nil {
			return nil, err
		}
		s.closers = append(s.closers, client.Close)
		cache, err := cachedrepo.New(db, redisstore.New(client), cachedrepo.Config{
			Namespace: d.env.name, Tables: places.Tables, Logger: quiet,
		})
		if err != nil {
			return nil, err
		}
		s.cache, s.before = cache, counter.Statements()
		s.closers = append(s.closers, func() error {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return cache.Close(ctx)
		})
		cities = cachedrepo.Wrap(cache, cities)
		regions = cachedrepo.Wrap(cache, regions)
		countries = cachedrepo.Wrap(cache, countries)
		stats = func() any { return cache.Stats() }
	}

	s.handler = httpapi.New(httpapi.Config{
		Cities: cities, Regions: regions, Countries: countries, Stats: stats, Logger: quiet,
	})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.url = "http://" + ln.Addr().String()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx)) // it ends with close, after its clients
	ended := make(chan error, 1)
	go func() { ended <- server.Run(serving, ln, s.handler, quiet) }()
	s.closers = append(s.closers, func() error { stop(); return <-ended })
	return s, nil
}

func (s *service) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	s.closers = nil
	return errors.Join(errs...)
}

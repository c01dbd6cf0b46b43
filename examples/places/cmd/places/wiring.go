package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// What -cache may be.
const (
	cacheOff    = "off"
	cacheMemory = "memory" // one process that writes at a time: a second one would serve what the first has changed since
	cacheRedis  = "redis"
)

// repositories are what the handlers get, as interfaces: they cannot tell which.
type repositories struct {
	cities    repo.Repository[places.City, int64]
	regions   repo.Repository[places.Region, string]
	countries repo.Repository[places.Country, string]
	stats     func() any
	close     func() error
}

// open decides what stands behind the handlers. This function is all that -cache changes.
func open(db *txhooks.DB, s settings, log *slog.Logger) (repositories, error) {
	plain := repositories{
		cities:    repo.New(db, places.Cities),
		regions:   repo.New(db, places.Regions),
		countries: repo.New(db, places.Countries),
		close:     func() error { return nil },
	}
	if s.cache == cacheOff {
		return plain, nil
	}
	kept, closeStore, err := openStore(s)
	if err != nil {
		return repositories{}, err
	}
	cache, err := cachedrepo.New(db, kept, cachedrepo.Config{Namespace: "places", Tables: places.Tables, Logger: log})
	if err != nil {
		return repositories{}, errors.Join(err, closeStore())
	}
	return repositories{
		cities:    cachedrepo.Wrap(cache, plain.cities),
		regions:   cachedrepo.Wrap(cache, plain.regions),
		countries: cachedrepo.Wrap(cache, plain.countries),
		stats:     func() any { return cache.Stats() },
		close: func() error {
			// After the server, whose last writes may still have invalidations to send.
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			return errors.Join(cache.Close(ctx), closeStore())
		},
	}, nil
}

func openStore(s settings) (kept store.Store, closeStore func() error, err error) {
	switch s.cache {
	case cacheMemory:
		return memstore.New(memstore.Config{}), func() error { return nil }, nil
	case cacheRedis:
		if s.redis == "" {
			return nil, nil, errors.New("-cache=redis without -redis and REDIS_URL")
		}
		options, err := redis.ParseURL(s.redis)
		if err != nil {
			return nil, nil, fmt.Errorf("-redis: %w", err)
		}
		redisstore.Tune(options)
		client := redis.NewClient(options)
		return redisstore.New(client), client.Close, nil
	}
	return nil, nil, fmt.Errorf("-cache=%s: it may be %s, %s or %s", s.cache, cacheOff, cacheMemory, cacheRedis)
}

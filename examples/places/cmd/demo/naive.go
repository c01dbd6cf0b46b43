package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// naive is the cache that most of us have written once: GET, SELECT, SET; and DEL after the commit. Its flaw is an order
// of events that any load brings about:
//
//  1. a reader misses and SELECTs the old row;
//  2. a writer commits, sends DEL and returns;
//  3. the reader SETs the old row, for all to read until its TTL ends.
type naive struct {
	plain  repo.Repository[places.City, int64]
	client *redis.Client
	prefix string
	hits   counter
}

func (n *naive) keyOf(id int64) string        { return n.prefix + ":id:" + strconv.FormatInt(id, 10) }
func (n *naive) keyOfSlug(slug string) string { return n.prefix + ":slug:" + slug }

func (n *naive) Find(ctx context.Context, id int64) (places.City, error) {
	return n.through(ctx, n.keyOf(id), func() (places.City, error) { return n.plain.Find(ctx, id) })
}

func (n *naive) FindBy(ctx context.Context, at model.One[places.City]) (places.City, error) {
	return n.through(ctx, n.keyOfSlug(at.Place().String()), func() (places.City, error) { return n.plain.FindBy(ctx, at) })
}

func (n *naive) FindMany(ctx context.Context, ids []int64) ([]places.City, error) {
	var found []places.City
	for _, id := range ids {
		city, err := n.Find(ctx, id)
		if err != nil {
			return nil, err
		}
		found = append(found, city)
	}
	return found, nil
}

func (n *naive) Modify(ctx context.Context, id int64, change func(*places.City) error) (places.City, error) {
	city, err := n.plain.Modify(ctx, id, change)
	if err != nil {
		return city, err
	}
	return city, n.client.Del(ctx, n.keyOf(id), n.keyOfSlug(places.BySlug.Eq(city.Slug).Place().String())).Err()
}

func (n *naive) through(ctx context.Context, key string, load func() (places.City, error)) (city places.City, err error) {
	text, err := n.client.Get(ctx, key).Bytes()
	if err == nil {
		n.hits.Add(1)
		return city, json.Unmarshal(text, &city)
	}
	if !errors.Is(err, redis.Nil) {
		return city, err
	}
	if city, err = load(); err != nil {
		return city, err
	}
	if text, err = json.Marshal(city); err != nil {
		return city, err
	}
	return city, n.client.Set(ctx, key, text, time.Minute).Err()
}

package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/repo/memrepo"
	"github.com/asidego/aside/txhooks"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// backends are what may stand behind the handlers; each has the same small sample.
var backends = []struct {
	name string
	open func(t *testing.T) http.Handler
}{
	{"memrepo", inMemory},
	{"postgres", func(t *testing.T) http.Handler { return onPostgres(t, nil) }},
	{"postgres and memory", func(t *testing.T) http.Handler { return onPostgres(t, memstore.New(memstore.Config{})) }},
	{"postgres and redis", func(t *testing.T) http.Handler {
		return onPostgres(t, redisstore.New(testenv.NewRedis(t).Client(t)))
	}},
}

func inMemory(t *testing.T) http.Handler {
	cities, regions, countries := sample(t)
	return New(Config{
		Cities:    memrepo.New(places.Cities, cities...),
		Regions:   memrepo.New(places.Regions, regions...),
		Countries: memrepo.New(places.Countries, countries...),
		Logger:    quiet(),
	})
}

func onPostgres(t *testing.T, s store.Store) http.Handler {
	schema, err := os.ReadFile(filepath.Join("..", "places", "migrations", "0001_places.up.sql"))
	if err != nil {
		t.Fatal(err)
	}
	db := txhooks.New(testenv.PostgresWith(t, string(schema)).Open(t), txhooks.Config{})
	cities, regions, countries := sample(t)
	insert(t, repo.New(db, places.Countries), countries)
	insert(t, repo.New(db, places.Regions), regions)
	insert(t, repo.New(db, places.Cities), cities)

	var c repo.Repository[places.City, int64] = repo.New(db, places.Cities)
	var r repo.Repository[places.Region, string] = repo.New(db, places.Regions)
	var n repo.Repository[places.Country, string] = repo.New(db, places.Countries)
	if s != nil {
		cache, err := cachedrepo.New(db, s, cachedrepo.Config{Namespace: "places", Tables: places.Tables})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := cache.Close(context.Background()); err != nil {
				t.Error(err)
			}
		})
		c, r, n = cachedrepo.Wrap(cache, c), cachedrepo.Wrap(cache, r), cachedrepo.Wrap(cache, n)
	}
	return New(Config{Cities: c, Regions: r, Countries: n, Logger: quiet()})
}

func insert[T any, K comparable](t *testing.T, r *repo.SQL[T, K], recs []T) {
	t.Helper()
	if _, err := r.InsertMany(t.Context(), recs); err != nil {
		t.Fatal(err)
	}
}

// sample is Andorra, the first country of the data, and a region without cities.
func sample(t *testing.T) (cities []places.City, regions []places.Region, countries []places.Country) {
	for c, err := range places.AllCities() {
		if err != nil {
			t.Fatal(err)
		}
		if c.Country != "AD" {
			break
		}
		cities = append(cities, c)
	}
	for r, err := range places.AllRegions() {
		if err != nil {
			t.Fatal(err)
		}
		if r.Country == "AD" {
			regions = append(regions, r)
		}
	}
	regions = append(regions, places.Region{Code: "AD.99", Name: "Nowhere", Country: "AD"})
	if !slices.ContainsFunc(cities, func(c places.City) bool { return strings.HasPrefix(c.Slug, "ad-") }) {
		t.Fatal("the sample is empty")
	}
	return cities, regions, []places.Country{{Code: "AD", Name: "Andorra"}}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// Package httpapi serves places as JSON. Its handlers know ports of one or two
// methods each, declared beside them; whether a cache, PostgreSQL alone or a map
// answers is main's business.
package httpapi

import (
	"log/slog"
	"net/http"

	"github.com/asidego/aside/examples/places/places"
)

// Cities is what the handlers need of cities. Any repo.Repository of cities has it.
type Cities interface {
	cityFinder
	citiesFinder
	slugFinder
	cityLister
	cityModifier
}

// Config of the API.
type Config struct {
	Cities    Cities
	Regions   codeFinder[places.Region]
	Countries codeFinder[places.Country]
	Stats     func() any   // what GET /stats shows; nil: nothing
	Logger    *slog.Logger // nil: slog.Default()
}

// New returns the API's handler.
func New(cfg Config) http.Handler {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Stats == nil {
		cfg.Stats = func() any { return struct{}{} }
	}
	mux := http.NewServeMux()
	route := func(pattern string, h handler) { mux.Handle(pattern, answer(cfg.Logger, h)) }
	route("GET /cities/{id}", getCity(cfg.Cities))
	route("GET /cities", getCities(cfg.Cities))
	route("GET /cities/by-slug/{slug}", getCityBySlug(cfg.Cities))
	route("PATCH /cities/{id}", patchCity(cfg.Cities))
	route("GET /regions/{code}", getByCode(cfg.Regions))
	route("GET /regions/{code}/cities", listCities(cfg.Regions, cfg.Cities))
	route("GET /countries/{code}", getByCode(cfg.Countries))
	route("GET /stats", func(w http.ResponseWriter, _ *http.Request) error {
		w.Header().Set("Cache-Control", "no-store")
		return writeJSON(w, http.StatusOK, cfg.Stats())
	})
	return noRoute(mux)
}

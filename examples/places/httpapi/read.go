package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/model"
)

type cityFinder interface {
	Find(ctx context.Context, id int64) (places.City, error)
}

type citiesFinder interface {
	FindMany(ctx context.Context, ids []int64) ([]places.City, error)
}

type slugFinder interface {
	FindBy(ctx context.Context, at model.One[places.City]) (places.City, error)
}

type codeFinder[T any] interface {
	Find(ctx context.Context, code string) (T, error)
}

// maxIDs bounds GET /cities?ids=.
const maxIDs = 100

func getCity(cities cityFinder) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := cityID(r.PathValue("id"))
		if err != nil {
			return err
		}
		city, err := cities.Find(r.Context(), id)
		if err != nil {
			return err
		}
		return writeCity(w, r, city)
	}
}

func getCityBySlug(cities slugFinder) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		slug := r.PathValue("slug")
		if err := storable(slug); err != nil {
			return err
		}
		city, err := cities.FindBy(r.Context(), places.BySlug.Eq(slug))
		if err != nil {
			return err
		}
		return writeCity(w, r, city)
	}
}

// getCities answers in the order of the ids; a city that does not exist is left out.
func getCities(cities citiesFinder) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		text := r.URL.Query().Get("ids")
		if text == "" {
			return badRequest("bad_ids", "ids is missing, such as ?ids=1,2,3")
		}
		words := strings.Split(text, ",")
		if len(words) > maxIDs {
			return badRequest("too_many_ids", fmt.Sprintf("%d ids are more than %d", len(words), maxIDs))
		}
		ids := make([]int64, len(words))
		for i, word := range words {
			var err error
			if ids[i], err = cityID(word); err != nil {
				return err
			}
		}
		found, err := cities.FindMany(r.Context(), ids)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, page{Items: some(found)})
	}
}

func getByCode[T any](finder codeFinder[T]) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		code := r.PathValue("code")
		if err := storable(code); err != nil {
			return err
		}
		rec, err := finder.Find(r.Context(), code)
		if err != nil {
			return err
		}
		return writeJSON(w, http.StatusOK, rec)
	}
}

// page is a list; Next is empty on the last one.
type page struct {
	Items []places.City `json:"items"`
	Next  string        `json:"next,omitempty"`
}

// some keeps nil from becoming null in JSON.
func some(items []places.City) []places.City {
	if items == nil {
		return []places.City{}
	}
	return items
}

func cityID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id <= 0 {
		return 0, badRequest("bad_id", fmt.Sprintf("%.40q is not the id of a city: a positive number", text))
	}
	return id, nil
}

// storable refuses what PostgreSQL has no text for: it finds no place, and is no trouble of the server's.
func storable(text string) error {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return model.ErrNotFound
	}
	return nil
}

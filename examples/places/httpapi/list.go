package httpapi

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

type cityLister interface {
	ListBy(ctx context.Context, at model.Many[places.City], page repo.Page) (repo.List[places.City], error)
}

// maxLimit bounds a page. It is the API's own, below that of the repository: what a client may ask for is part of the
// contract with clients.
const maxLimit = 200

// listCities pages through the cities of a region by name. A region that exists and has no cities is an empty list.
func listCities(regions codeFinder[places.Region], cities cityLister) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		query := r.URL.Query()
		limit := 0
		if text := query.Get("limit"); text != "" {
			var err error
			if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > maxLimit {
				return badRequest("bad_limit", fmt.Sprintf("limit is %.20q, not a number from 1 to %d", text, maxLimit))
			}
		}
		code := r.PathValue("code")
		if err := storable(code); err != nil {
			return err
		}
		region, err := regions.Find(r.Context(), code)
		if err != nil {
			return err
		}
		list, err := cities.ListBy(r.Context(), places.ByRegion.Eq(region.Code),
			repo.Page{After: repo.Cursor(query.Get("after")), Limit: limit})
		if err != nil {
			return badCursor(err)
		}
		return writeJSON(w, http.StatusOK, page{Items: some(list.Items), Next: string(list.Next)})
	}
}

// badCursor tells a client's damaged cursor from our own trouble.
func badCursor(err error) error {
	if errors.Is(err, repo.ErrCursor) {
		return badRequest("bad_cursor", "after is not the next of a page of this region")
	}
	return err
}

// Package places is the domain: cities, regions and countries, as records, as
// tables that a cache understands, and as the SQL that makes and fills them.
package places

import (
	"iter"
	"strconv"
	"strings"
	"unicode"

	"github.com/asidego/aside/examples/places/data"
	"github.com/asidego/aside/model"
)

// City is a row of cities. Version counts its changes; HTTP clients know it as
// the ETag.
type City struct {
	ID         int64   `db:"id" json:"id"`
	Slug       string  `db:"slug" json:"slug"`
	Name       string  `db:"name" json:"name"`
	Country    string  `db:"country" json:"country"`
	Region     string  `db:"region" json:"region"`
	District   string  `db:"district" json:"district,omitempty"`
	Lat        float64 `db:"lat" json:"lat"`
	Lng        float64 `db:"lng" json:"lng"`
	Population *int64  `db:"population" json:"population"` // nil: not known, as GeoNames' extract does not have it
	Version    int64   `db:"version" json:"version"`
}

// Region is a first-order division of a country: a state, a Land, a prefecture.
type Region struct {
	Code    string `db:"code" json:"code"` // "FR.84"
	Name    string `db:"name" json:"name"`
	Country string `db:"country" json:"country"`
}

// Country has the ISO 3166 code.
type Country struct {
	Code string `db:"code" json:"code"`
	Name string `db:"name" json:"name"`
}

// What cities and regions are read by, besides their keys.
var (
	BySlug    = model.NewUnique[City, string]("slug")
	ByRegion  = model.NewIndex[City, string]("region").OrderBy("name")
	ByCountry = model.NewIndex[Region, string]("country").OrderBy("name")
)

// The tables. Every process that reads or writes them takes them from here, so
// that all know the same indexes.
var (
	Cities = model.MustTable(model.Spec[City, int64]{
		Name: "cities", Key: "id", Version: "version", Indexes: model.Indexes[City]{BySlug, ByRegion},
	})
	Regions = model.MustTable(model.Spec[Region, string]{
		Name: "regions", Key: "code", Indexes: model.Indexes[Region]{ByCountry},
	})
	Countries = model.MustTable(model.Spec[Country, string]{Name: "countries", Key: "code"})

	Tables = model.Tables{Cities, Regions, Countries}
)

// AllCities yields the cities of package data as records.
func AllCities() iter.Seq2[City, error] {
	return func(yield func(City, error) bool) {
		for c, err := range data.Cities() {
			if !yield(cityOf(c), err) {
				return
			}
		}
	}
}

// AllRegions yields the regions of package data as records.
func AllRegions() iter.Seq2[Region, error] {
	return func(yield func(Region, error) bool) {
		for r, err := range data.Regions() {
			if !yield(Region{r.Code, r.Name, countryOf(r.Code)}, err) {
				return
			}
		}
	}
}

// AllCountries yields the countries of package data as records.
func AllCountries() iter.Seq2[Country, error] {
	return func(yield func(Country, error) bool) {
		for c, err := range data.Countries() {
			if !yield(Country(c), err) {
				return
			}
		}
	}
}

func cityOf(c data.City) City {
	country := countryOf(c.Region)
	return City{
		ID: c.ID, Slug: Slug(country, c.Name, c.ID), Name: c.Name, Country: country,
		Region: c.Region, District: c.District, Lat: c.Lat, Lng: c.Lng, Version: 1,
	}
}

func countryOf(region string) string {
	country, _, _ := strings.Cut(region, ".")
	return country
}

// Slug makes "de-berlin-43314". The id at its end makes it unique: the United
// States alone have six Berlins.
func Slug(country, name string, id int64) string {
	var b strings.Builder
	b.WriteString(strings.ToLower(country))
	gap := true
	for _, r := range name {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) && !unicode.IsDigit(r) {
			gap = true
			continue
		}
		if gap {
			b.WriteByte('-')
			gap = false
		}
		b.WriteRune(unicode.ToLower(r))
	}
	b.WriteByte('-')
	b.WriteString(strconv.FormatInt(id, 10))
	return b.String()
}

// Package data holds the cities of the world with more than 1,000 inhabitants,
// from GeoNames; see ATTRIBUTION.md for licence and origin.
package data

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
)

//go:generate go run ./prepare -from "$CITIES_JSON"

//go:embed cities.tsv.gz
var cities []byte

//go:embed regions.tsv.gz
var regions []byte

//go:embed countries.tsv
var countries []byte

// Count is how many cities there are.
const Count = 171_075

// City is a line of cities.tsv.gz.
type City struct {
	ID       int64  // its place in the file, from 1
	Region   string // "FR.84": country and first-order division
	District string // name of the second-order division; empty if it has none
	Name     string
	Lat, Lng float64
}

// Named is a line of the other files: a code and what it stands for.
type Named struct{ Code, Name string }

// Cities yields all cities in the order of their ids. The error, if any, comes last.
func Cities() iter.Seq2[City, error] {
	return func(yield func(City, error) bool) {
		var id int64
		for f, err := range lines(unzip(cities), 5) {
			if err != nil {
				yield(City{}, err)
				return
			}
			id++
			c := City{ID: id, Region: f[0], District: f[1], Name: f[2]}
			if c.Lat, err = strconv.ParseFloat(f[3], 64); err == nil {
				c.Lng, err = strconv.ParseFloat(f[4], 64)
			}
			if err != nil {
				err = fmt.Errorf("data: city %d: %w", id, err)
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

// Regions yields the first-order divisions that have cities.
func Regions() iter.Seq2[Named, error] { return named(unzip(regions)) }

// Countries yields the countries that have cities.
func Countries() iter.Seq2[Named, error] { return named(bytes.NewReader(countries)) }

func named(r io.Reader) iter.Seq2[Named, error] {
	return func(yield func(Named, error) bool) {
		for f, err := range lines(r, 2) {
			if err != nil {
				yield(Named{}, err)
				return
			}
			if !yield(Named{f[0], f[1]}, nil) {
				return
			}
		}
	}
}

// lines splits a file of tab-separated values; names have no tabs in them.
func lines(r io.Reader, fields int) iter.Seq2[[]string, error] {
	return func(yield func([]string, error) bool) {
		scanner := bufio.NewScanner(r)
		for n := 1; scanner.Scan(); n++ {
			f := strings.Split(scanner.Text(), "\t")
			if len(f) != fields {
				yield(nil, fmt.Errorf("data: line %d has %d fields, not %d", n, len(f), fields))
				return
			}
			if !yield(f, nil) {
				return
			}
		}
		if err := scanner.Err(); err != nil {
			yield(nil, fmt.Errorf("data: %w", err))
		}
	}
}

// unzip gives a damaged file's error to whoever reads.
func unzip(packed []byte) io.Reader {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return failed{err}
	}
	return z
}

type failed struct{ err error }

func (f failed) Read([]byte) (int, error) { return 0, f.err }

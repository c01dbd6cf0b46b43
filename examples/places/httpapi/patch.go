package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/asidego/aside/examples/places/places"
)

type cityModifier interface {
	Modify(ctx context.Context, id int64, change func(city *places.City) error) (places.City, error)
}

const (
	maxBody       = 16 << 10
	maxName       = 200
	maxPopulation = 100_000_000
)

// patchCity applies a JSON merge patch (RFC 7396): what the body does not name stays, null removes. With If-Match the
// city must still be what the client has seen, else 412; without, the patch is applied to whatever is stored.
func patchCity(cities cityModifier) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := cityID(r.PathValue("id"))
		if err != nil {
			return err
		}
		changes, err := readPatch(w, r)
		if err != nil {
			return err
		}
		match := r.Header.Get("If-Match")
		// The row is locked from here on and read from the database, never from a cache, so the version compared is the
		// stored one.
		city, err := cities.Modify(r.Context(), id, func(city *places.City) error {
			if match != "" && !matches(match, *city) {
				return &problem{http.StatusPreconditionFailed, "changed", fmt.Sprintf("the city is at %s now", etag(*city))}
			}
			for _, change := range changes {
				change(city)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return writeCity(w, r, city)
	}
}

// fields are what may be patched: a value is checked and becomes a change.
var fields = map[string]func(raw json.RawMessage) (func(*places.City), error){
	"name": func(raw json.RawMessage) (func(*places.City), error) {
		name, err := value[string](raw)
		name = strings.TrimSpace(name)
		if err != nil || name == "" || utf8.RuneCountInString(name) > maxName || strings.ContainsRune(name, 0) {
			return nil, fmt.Errorf("a string of 1 to %d characters", maxName)
		}
		return func(c *places.City) { c.Name = name }, nil
	},
	"slug": func(raw json.RawMessage) (func(*places.City), error) {
		slug, err := value[string](raw)
		if err != nil || len(slug) > maxName || !slugPattern.MatchString(slug) {
			return nil, fmt.Errorf("lower-case letters and digits, with single hyphens between them")
		}
		return func(c *places.City) { c.Slug = slug }, nil
	},
	"population": func(raw json.RawMessage) (func(*places.City), error) {
		if string(raw) == "null" {
			return func(c *places.City) { c.Population = nil }, nil
		}
		n, err := value[int64](raw)
		if err != nil || n < 0 || n > maxPopulation {
			return nil, fmt.Errorf("null or a whole number from 0 to %d", maxPopulation)
		}
		return func(c *places.City) { c.Population = &n }, nil
	},
}

var slugPattern = regexp.MustCompile(`^[\p{Ll}\p{Lo}\p{M}\p{N}]+(-[\p{Ll}\p{Lo}\p{M}\p{N}]+)*$`)

// readPatch reads and checks the body before any row is locked.
func readPatch(w http.ResponseWriter, r *http.Request) ([]func(*places.City), error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil ||
		kind != "application/json" && kind != "application/merge-patch+json" {
		return nil, &problem{http.StatusUnsupportedMediaType, "bad_type", "send application/merge-patch+json or application/json"}
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return nil, &problem{http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is over %d bytes", maxBody)}
	}
	if err != nil {
		return nil, badRequest("bad_body", "the body could not be read")
	}
	var body map[string]json.RawMessage
	if err := json.Unmarshal(text, &body); err != nil || body == nil {
		return nil, badRequest("bad_json", "the body is not a JSON object")
	}
	var changes []func(*places.City)
	for name, raw := range body {
		check, ok := fields[name]
		if !ok {
			return nil, badRequest("unknown_field", fmt.Sprintf("%.40q cannot be changed; these can: %s", name, known()))
		}
		change, err := check(bytes.TrimSpace(raw))
		if err != nil {
			return nil, badRequest("bad_value", fmt.Sprintf("%s must be %v", name, err))
		}
		changes = append(changes, change)
	}
	if len(changes) == 0 {
		return nil, badRequest("empty", "the body names no field")
	}
	return changes, nil
}

func known() string {
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// value refuses null, which json.Unmarshal would take for "leave it as it is".
func value[T any](raw json.RawMessage) (v T, err error) {
	if string(raw) == "null" {
		return v, errors.New("null")
	}
	return v, json.Unmarshal(raw, &v)
}

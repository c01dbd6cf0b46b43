package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/model"
)

// handler is an http.HandlerFunc that leaves its errors to answer. It returns one before it writes anything.
type handler func(w http.ResponseWriter, r *http.Request) error

// problem is an error that a client is told.
type problem struct {
	status int
	Code   string `json:"code"` // for programs
	Text   string `json:"text"` // for people
}

func (p *problem) Error() string { return p.Code + ": " + p.Text }

func badRequest(code, text string) *problem { return &problem{http.StatusBadRequest, code, text} }

// answer turns errors into JSON. What a client can do nothing about is logged and not shown.
func answer(log *slog.Logger, h handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		p := problemOf(err)
		if p.status >= 500 && r.Context().Err() == nil {
			log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "status", p.status, "err", err)
		}
		w.Header().Del("ETag")
		if err := writeJSON(w, p.status, map[string]*problem{"error": p}); err != nil {
			log.DebugContext(r.Context(), "answer not sent", "err", err)
		}
	})
}

// noRoute says in JSON what the mux would say in plain text: that there is no such address, or not with this method.
func noRoute(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		verdict := verdict{header: w.Header()} // takes the Allow header along
		mux.ServeHTTP(&verdict, r)
		p := &problem{verdict.status, "no_route", "there is nothing at this address"}
		if verdict.status == http.StatusMethodNotAllowed {
			p.Code, p.Text = "bad_method", "this address does not know this method"
		}
		_ = writeJSON(w, p.status, map[string]*problem{"error": p})
	})
}

// verdict is an http.ResponseWriter that drops the body.
type verdict struct {
	header http.Header
	status int
}

func (v *verdict) Header() http.Header         { return v.header }
func (v *verdict) WriteHeader(status int)      { v.status = status }
func (v *verdict) Write(p []byte) (int, error) { return len(p), nil }

func problemOf(err error) *problem {
	var p *problem
	switch {
	case errors.As(err, &p):
		return p
	case errors.Is(err, model.ErrNotFound):
		return &problem{http.StatusNotFound, "not_found", "there is no such place"}
	case errors.Is(err, model.ErrDuplicate):
		return &problem{http.StatusConflict, "duplicate", "another city has this slug"}
	case errors.Is(err, model.ErrConflict):
		return &problem{http.StatusConflict, "conflict", "somebody else changed the city meanwhile; read it again"}
	case errors.Is(err, model.ErrInDoubt):
		return &problem{http.StatusServiceUnavailable, "in_doubt", "the change may or may not have been stored; read the city before you try again"}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &problem{http.StatusServiceUnavailable, "timeout", "this took too long"}
	}
	return &problem{http.StatusInternalServerError, "internal", "something went wrong here"}
}

// writeCity answers with the city, or with 304 to a client that has this version.
func writeCity(w http.ResponseWriter, r *http.Request, city places.City) error {
	w.Header().Set("ETag", etag(city))
	if none := r.Header.Get("If-None-Match"); none != "" && r.Method == http.MethodGet && matches(none, city) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return writeJSON(w, http.StatusOK, city)
}

func etag(city places.City) string { return `"` + strconv.FormatInt(city.Version, 10) + `"` }

// matches looks for the city's tag in an If-Match or If-None-Match header.
func matches(header string, city places.City) bool {
	for tag := range strings.SplitSeq(header, ",") {
		if tag = strings.TrimSpace(tag); tag == "*" || tag == etag(city) {
			return true
		}
	}
	return false
}

// writeJSON encodes before it writes, so that a failure can still become a status.
func writeJSON(w http.ResponseWriter, status int, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client is gone: nobody to tell
	return nil
}

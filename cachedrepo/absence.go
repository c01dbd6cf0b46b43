package cachedrepo

import (
	"database/sql"
	"errors"

	"github.com/asidego/aside/model"
)

// absence tells how a loader said "no such row". "Not found" is stored like any value, and a hit must look to the caller
// like the load it replaces.
type absence uint8

const (
	present   absence = iota
	notFound          // model.ErrNotFound, or a *model.Error of that kind
	noRows            // sql.ErrNoRows
	ownAbsent         // Options.NotFound
)

// absenceOf recognises the values that mean absence and nothing else. An error that wraps one of them may say more, and
// what it says would be lost on a hit: it is passed on and not stored.
func (o Options) absenceOf(err error) absence {
	if o.NotFound != nil && err != o.NotFound { //nolint:errorlint // see above
		// A hit will say NotFound. A repository that now and then says something else is left to say it itself.
		return present
	}
	switch err { //nolint:errorlint // see above
	case nil:
		return present
	case model.ErrNotFound:
		return notFound
	case sql.ErrNoRows:
		return noRows
	case o.NotFound:
		return ownAbsent
	}
	if e, ok := err.(*model.Error); ok && e.Kind == model.ErrNotFound && e.Err == nil { //nolint:errorlint // see above
		return notFound
	}
	return present
}

// absent tells whether an error speaks of a row that is not there, be it in words that can be stored or not.
func absent(err error) bool {
	return errors.Is(err, model.ErrNotFound) || errors.Is(err, sql.ErrNoRows) || errors.Is(err, errNilRecord)
}

// absent is the error of a hit on "no such row".
func (o Options) absent(at model.Place, flags byte) error {
	switch {
	case o.NotFound != nil:
		return o.NotFound
	case flags&flagNoRows != 0:
		return sql.ErrNoRows
	}
	return model.NotFound(at)
}

func (a absence) flags() byte {
	if a == noRows {
		return flagAbsent | flagNoRows
	}
	return flagAbsent
}

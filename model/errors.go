package model

import (
	"database/sql"
	"errors"
	"strings"
)

// Kinds of error, for errors.Is. ErrNotFound errors match sql.ErrNoRows too.
var (
	ErrNotFound   = errors.New("not found")
	ErrConflict   = errors.New("version conflict")
	ErrDuplicate  = errors.New("duplicate")
	ErrForeignKey = errors.New("foreign key violation")
	ErrInDoubt    = errors.New("commit in doubt")
	ErrNoScope    = errors.New("no scope in context")
)

// Error tells what an error is about: "products.sku=A-1: not found".
type Error struct {
	Kind       error  // one of the above
	Table      string // as in Spec.Name
	Index      string // its column names, joined by commas; empty if the error is about no index
	Value      string // as printed, shortened to 64 bytes
	Constraint string // as PostgreSQL names it; empty if none
	Err        error  // the driver's; nil for a cached "not found"
}

// Error is "table.index=value: kind (constraint): cause" without what is empty.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Table)
	if e.Index != "" {
		b.WriteString(".")
		b.WriteString(e.Index)
		b.WriteString("=")
		b.WriteString(e.Value)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.Kind.Error())
	if e.Constraint != "" {
		b.WriteString(" (")
		b.WriteString(e.Constraint)
		b.WriteString(")")
	}
	if e.Err != nil {
		b.WriteString(": ")
		b.WriteString(e.Err.Error())
	}
	return b.String()
}

// Is matches the kind, and sql.ErrNoRows for what was not found.
func (e *Error) Is(target error) bool {
	return target == e.Kind || (target == sql.ErrNoRows && e.Kind == ErrNotFound)
}

// Unwrap returns the driver's error.
func (e *Error) Unwrap() error { return e.Err }

// NotFound returns the error for a row that does not exist.
func NotFound(at Place) *Error {
	e := &Error{Kind: ErrNotFound}
	if at.Relation != nil {
		e.Table = at.Relation.Name
	}
	if at.Access != nil {
		e.Index, e.Value = at.Access.Name, at.String()
	}
	return e
}

package repo

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"github.com/asidego/aside/model"
)

// kinds maps SQLSTATE to what it means to a caller. This is the only place that knows codes.
var kinds = map[string]error{
	"23505": model.ErrDuplicate,
	"23503": model.ErrForeignKey,
}

// fail makes an error of a statement the caller's: with its kind if it has one, with table, operation and what it was
// about if not. op is a verb; about may be empty.
func fail(ctx context.Context, rel *model.Relation, op, about string, err error) error {
	if err == nil {
		return nil
	}
	var known *model.Error
	if errors.As(err, &known) {
		return err
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		if kind := kinds[state.SQLState()]; kind != nil {
			return violation(rel, kind, state, err)
		}
	}
	if about != "" {
		op += " " + about
	}
	// A driver may report a cancelled statement as an error of the server's, which does not match the context's.
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		return fmt.Errorf("repo: %s: %s: %w (%w)", rel.Name, op, err, cause)
	}
	return fmt.Errorf("repo: %s: %s: %w", rel.Name, op, err)
}

// keyDetail finds "(sku)=(A-1)" in the detail of a violation. The words around it are in the server's language.
var keyDetail = regexp.MustCompile(`(?s)\(([^=]*)\)=\((.*)\)`)

func violation(rel *model.Relation, kind error, state any, err error) error {
	e := &model.Error{Kind: kind, Table: rel.Name, Err: err}
	e.Constraint = errorField(state, "Constraint", "ConstraintName")
	if m := keyDetail.FindStringSubmatch(errorField(state, "Detail")); m != nil {
		e.Index = strings.ReplaceAll(strings.ReplaceAll(m[1], ", ", ","), `"`, "")
		e.Value = shorten(m[2])
	}
	return e
}

// errorField reads a string field of a driver's error by name. The drivers agree on a method for the code only, and
// this package is to import none of them.
func errorField(err any, names ...string) string {
	v := reflect.Indirect(reflect.ValueOf(err))
	if v.Kind() != reflect.Struct {
		return ""
	}
	for _, name := range names {
		if f := v.FieldByName(name); f.IsValid() && f.Kind() == reflect.String {
			return f.String()
		}
	}
	return ""
}

// shorten cuts a value as model.Error.Value wants it.
func shorten(s string) string {
	const limit = 64
	if len(s) > limit {
		s = strings.ToValidUTF8(s[:limit-3], "") + "..."
	}
	return s
}

// stray is the error for a reference to another table's rows.
func stray(rel *model.Relation, at model.Place) error {
	if err := at.Check(); err != nil {
		return fmt.Errorf("repo: %s: %w", rel.Name, err)
	}
	if at.Relation != rel {
		return fmt.Errorf("repo: %s: the reference is to table %s", rel.Name, at.Relation.Name)
	}
	return nil
}

package repo

import (
	"context"
	"errors"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

// kinds maps SQLSTATE to what it means to a caller. This is the only place that knows codes.
var kinds = map[string]error{
	"23505": model.ErrDuplicate,
	"23503": model.ErrForeignKey,
}

// fail makes an error of a statement the caller's: with its kind if it has one, with table, operation and what it was
// about if not. op is a verb; about may be empty.
func fail(ctx context.Context, rel *model.Relation, op, about string, err error) error {
	var known *model.Error
	var state interface{ SQLState() string }
	if !errors.As(err, &known) && errors.As(err, &state) {
		if kind := kinds[state.SQLState()]; kind != nil {
			return violation(rel, kind, state, err)
		}
	}
	return fault.Wrap(ctx, rel, op, about, err)
}

// keyDetail finds "(sku)=(A-1)" in the detail of a violation. The words around it are in the server's language.
var keyDetail = regexp.MustCompile(`(?s)\(([^=]*)\)=\((.*)\)`)

func violation(rel *model.Relation, kind error, state any, err error) error {
	e := &model.Error{Kind: kind, Table: rel.Name, Err: err}
	e.Constraint = errorField(state, "Constraint", "ConstraintName")
	if m := keyDetail.FindStringSubmatch(errorField(state, "Detail")); m != nil {
		e.Index, e.Value = strings.ReplaceAll(strings.ReplaceAll(m[1], ", ", ","), `"`, ""), m[2]
		if strings.Contains(e.Index, ",") {
			e.Value = "(" + strings.ReplaceAll(e.Value, ", ", ",") + ")"
		}
		e.Value = fault.Shorten(e.Value)
		for _, c := range rel.Columns {
			if c.Sensitive && slices.Contains(strings.Split(e.Index, ","), c.Name) {
				e.Value = "***"
			}
		}
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

// Package fault has the errors that all repositories return alike.
package fault

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/asidego/aside/model"
)

// ErrNoVersion is about an Update on a table without version.
var ErrNoVersion = errors.New("the table has no version column, so writing a whole record would undo what others " +
	"wrote since it was read: use Modify")

// ErrTwoRows is about a key or unique index that PostgreSQL does not hold to be unique.
var ErrTwoRows = errors.New("there are two rows, so the index is not unique: if it is partial, " +
	"its predicate must be the table's Filter")

// ErrLeavesScope is about a change that takes a row to another scope, where it would meet rows that its writer may not
// know of.
var ErrLeavesScope = errors.New("it moves a row to another scope: insert it there and delete it here instead")

// Wrap adds table, operation and what it was about, which may be empty. A *model.Error says these itself.
func Wrap(ctx context.Context, rel *model.Relation, op, about string, err error) error {
	if err == nil {
		return nil
	}
	var known *model.Error
	if errors.As(err, &known) {
		return err
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

// Stray is the error for a reference to no or to another table's rows; nil if it is to rel's.
func Stray(rel *model.Relation, at model.Place) error {
	if err := at.Check(); err != nil {
		return fmt.Errorf("repo: %s: %w", rel.Name, err)
	}
	if at.Relation != rel {
		return fmt.Errorf("repo: %s: the reference is to table %s", rel.Name, at.Relation.Name)
	}
	return nil
}

// KeyAltered is about a change to a column of the key.
func KeyAltered(c *model.Column) error {
	return fmt.Errorf("column %s belongs to the key, which must not change: insert and delete instead", c.Name)
}

// ReadOnly is about a change to a column that the database generates.
func ReadOnly(c *model.Column) error { return fmt.Errorf("column %s is read-only", c.Name) }

// At returns an error about the row with this index value.
func At(kind error, access *model.Access, data []model.Datum) *model.Error {
	return &model.Error{Kind: kind, Table: access.Relation().Name, Index: access.Name, Value: access.Print(data)}
}

// Describe is "sku=A-1".
func Describe(at model.Place) string { return at.Access.Name + "=" + at.String() }

// DescribeRecord is "id=7" for a pointer to a record; empty if its key cannot be told.
func DescribeRecord(rel *model.Relation, rec any) string {
	data, err := rel.Key.Of(nil, rec)
	if err != nil {
		return ""
	}
	return rel.Key.Name + "=" + rel.Key.Print(data)
}

// Shorten cuts a value as model.Error.Value wants it, between characters.
func Shorten(s string) string {
	const limit = 64
	if len(s) > limit {
		end := limit - 3
		for end > 0 && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end] + "..."
	}
	return strings.ToValidUTF8(s, "?")
}

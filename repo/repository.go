package repo

import (
	"context"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/keyset"
)

// Finder is what a cache answers. A handler declares the one or two methods it needs; this is for Wrap.
//
// Rows that do not satisfy the table's Filter do not exist for any of these. A composite index value with a NULL in it
// finds no row, as in SQL.
type Finder[T any, K comparable] interface {
	// Find returns a row, or an error that matches model.ErrNotFound and sql.ErrNoRows.
	Find(ctx context.Context, key K) (T, error)

	// FindMany returns, in the order of keys, the rows that exist. nil and repeated keys are fine: a key given twice
	// gives its row twice, each with memory of its own.
	FindMany(ctx context.Context, keys []K) ([]T, error)

	// FindBy is Find by a unique index: FindBy(ctx, BySKU.Eq("A-1")). It fails if the index, against its
	// declaration, holds two such rows.
	FindBy(ctx context.Context, at model.One[T]) (T, error)

	// ListBy returns a page of the rows at an index value, in the index's order. It fails for a cursor that did not come
	// from the same index, order and value, and for a limit over 1000.
	ListBy(ctx context.Context, at model.Many[T], page Page) (List[T], error)

	// Count counts the rows at an index value.
	Count(ctx context.Context, at model.Many[T]) (int, error)
}

// Writer reports what it changes to the transaction in ctx, or to one of its own. It needs no decorator.
//
// A row that does not satisfy the table's Filter does not exist for Modify, Update and Delete either. A write may move a
// row out of the Filter: that is what a soft deletion is.
type Writer[T any, K comparable] interface {
	// Insert returns the row as stored, defaults filled in. A key column and a column with the db option "default" are
	// left to the database while they are zero. It fails with model.ErrDuplicate or model.ErrForeignKey if a constraint
	// says so.
	Insert(ctx context.Context, rec T) (T, error)

	// Modify locks the row, gives its stored state to change and writes the columns that change altered; if it altered
	// none, nothing is written. An error of change undoes the transaction and is returned as it is. change must not
	// alter the key. A version column is incremented whatever change does to it.
	Modify(ctx context.Context, key K, change func(rec *T) error) (T, error)

	// Update writes all columns if rec's version is the stored one, else fails with model.ErrConflict. It always fails on a
	// table without version: a record from a cache would undo what others wrote. Use Modify there.
	Update(ctx context.Context, rec T) (T, error)

	// Delete fails with model.ErrNotFound if there is no such row.
	Delete(ctx context.Context, key K) error
}

// Repository is both. It will not grow: new abilities go to SQL or become functions.
type Repository[T any, K comparable] interface {
	Finder[T, K]
	Writer[T, K]
}

// Page asks for rows after a cursor.
type Page struct {
	After Cursor // List.Next of the page before; empty: the first page
	Limit int    // 0: 50; at most 1000
}

// Cursor is opaque and fit for a URL; another index's is an error. It is not secret: it holds the values of the order's
// columns in the last row of its page, and a client can forge one that begins elsewhere in the same list.
type Cursor string

// List is a page.
type List[T any] struct {
	Items []T
	Next  Cursor // empty: that was all
}

// ErrCursor matches the error of ListBy for a cursor that is damaged or belongs to another index, order or value: the
// client's mistake, not the server's.
var ErrCursor = keyset.ErrCursor

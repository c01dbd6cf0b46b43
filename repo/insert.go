package repo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/repo/internal/column"
	"github.com/asidego/aside/repo/internal/fault"
	"github.com/asidego/aside/txhooks"
)

// errSuppressed is about a statement that PostgreSQL accepted and did not do.
var errSuppressed = errors.New("no row came back: a BEFORE trigger or a row security policy suppresses it")

// Insert inserts rec and returns the row as stored.
func (r *SQL[T, K]) Insert(ctx context.Context, rec T) (T, error) {
	recs, err := r.insert(ctx, "insert", []T{rec})
	if err != nil {
		var none T
		return none, err
	}
	return recs[0], nil
}

// Limits of one INSERT: of the wire protocol, and of what is sensible in one message.
const (
	maxParams = 65535
	maxRows   = 1000
)

// InsertMany inserts all or none, in one transaction, and returns the rows as stored, in the order of recs. It sends one
// statement for each 1000 rows, fewer if they have many columns. Insert says what is left to the database.
func (r *SQL[T, K]) InsertMany(ctx context.Context, recs []T) ([]T, error) {
	if len(recs) == 0 {
		return nil, nil
	}
	return r.insert(ctx, "insert many", recs)
}

func (r *SQL[T, K]) insert(ctx context.Context, op string, recs []T) ([]T, error) {
	chunk := min(maxRows, maxParams/len(r.rel.Columns))
	stored := make([]T, 0, len(recs))
	err := r.write(ctx, func(ctx context.Context) error {
		for rows := range slices.Chunk(recs, chunk) {
			some, err := r.insertRows(ctx, rows)
			if err != nil {
				return err
			}
			stored = append(stored, some...)
		}
		return nil
	})
	if err != nil {
		about := fmt.Sprintf("(%d rows)", len(recs))
		if len(recs) == 1 {
			about = fault.DescribeRecord(r.rel, &recs[0])
		}
		return nil, fail(ctx, r.rel, op, about, err)
	}
	return stored, nil
}

func (r *SQL[T, K]) insertRows(ctx context.Context, recs []T) ([]T, error) {
	var a args
	into, err := r.values(ctx, &a, recs)
	if err != nil {
		return nil, err
	}
	stored, err := r.records(ctx, into+" RETURNING "+r.text.columns, a)
	if err != nil {
		return nil, err
	}
	if len(stored) != len(recs) {
		return nil, errSuppressed
	}
	changes := make([]txhooks.Change, len(stored))
	for i := range stored {
		after, err := r.rel.Image(&stored[i])
		if err != nil {
			return nil, err
		}
		changes[i] = txhooks.Change{Relation: r.rel, After: after}
	}
	return stored, r.db.Changed(ctx, changes...)
}

// values is "INSERT INTO table (columns) VALUES (...), (...)".
func (r *SQL[T, K]) values(ctx context.Context, a *args, recs []T) (string, error) {
	columns := make([]int, 0, len(r.rel.Columns))
	for i := range r.rel.Columns {
		if !r.rel.Columns[i].ReadOnly {
			columns = append(columns, i)
		}
	}
	rows := make([]string, len(recs))
	for i := range recs {
		rec := recs[i]
		r.rel.Normalize(&rec)
		if err := r.enter(ctx, &rec); err != nil {
			return "", err
		}
		terms := make([]string, len(columns))
		for j, c := range columns {
			if r.leftToDatabase(&rec, c) {
				terms[j] = "DEFAULT"
				continue
			}
			v, err := column.Of(r.rel, &rec, c)
			if err != nil {
				return "", err
			}
			terms[j] = a.add(v)
		}
		rows[i] = "(" + strings.Join(terms, ", ") + ")"
	}
	return "INSERT INTO " + r.text.table + " (" + r.text.list(columns) + ") VALUES " + strings.Join(rows, ", "), nil
}

// leftToDatabase tells whether Insert leaves a column to its DEFAULT.
func (r *SQL[T, K]) leftToDatabase(rec *T, c int) bool {
	return (r.rel.Columns[c].Default || slices.Contains(r.rel.Key.Columns, c)) && column.IsZero(r.rel, rec, c)
}

package places

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"

	"github.com/jmoiron/sqlx"
)

// reportEvery is how many cities lie between two calls of progress.
const reportEvery = 20_000

// Load fills empty tables with package data, by COPY and in one transaction, and calls progress now and then with the
// number of cities so far. It takes the first limit cities, all of them if limit is 0.
//
// It goes past the repositories, and so past any cache: right for tables in which nothing was ever read, wrong for all
// others, where repo.SQL.InsertMany would tell the cache of new rows.
func Load(ctx context.Context, conn *sqlx.DB, limit int, progress func(done int)) (err error) {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("load: %w", errors.Join(err, ignoreDone(tx.Rollback())))
		}
	}()
	quiet := func(int) {}
	err = copyIn(ctx, tx, "COPY countries (code, name) FROM STDIN", AllCountries(), quiet,
		func(c Country) []any { return []any{c.Code, c.Name} })
	if err != nil {
		return err
	}
	err = copyIn(ctx, tx, "COPY regions (code, name, country) FROM STDIN", AllRegions(), quiet,
		func(r Region) []any { return []any{r.Code, r.Name, r.Country} })
	if err != nil {
		return err
	}
	err = copyIn(ctx, tx, "COPY cities (id, slug, name, country, region, district, lat, lng) FROM STDIN", first(AllCities(), limit), progress,
		func(c City) []any {
			return []any{c.ID, c.Slug, c.Name, c.Country, c.Region, c.District, c.Lat, c.Lng}
		})
	if err != nil {
		return err
	}
	// Without statistics the planner takes the tables for small ones.
	if _, err := tx.ExecContext(ctx, "ANALYZE countries, regions, cities"); err != nil {
		return err
	}
	return tx.Commit()
}

// copyIn sends records by COPY, which lib/pq takes as a prepared statement: an execution with arguments is a row, one
// without is the end.
func copyIn[T any](ctx context.Context, tx *sql.Tx, statement string, recs iter.Seq2[T, error], progress func(done int), row func(T) []any) (err error) {
	stmt, err := tx.PrepareContext(ctx, statement)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stmt.Close()) }()
	done := 0
	for rec, err := range recs {
		if err != nil {
			return err
		}
		if _, err := stmt.ExecContext(ctx, row(rec)...); err != nil {
			return err
		}
		if done++; done%reportEvery == 0 {
			progress(done)
		}
	}
	_, err = stmt.ExecContext(ctx)
	progress(done)
	return err
}

func first[T any](all iter.Seq2[T, error], n int) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		left := n
		for rec, err := range all {
			if !yield(rec, err) {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Package migrations makes the library's own tables, and a user's from SQL files, with golang-migrate.
package migrations

import (
	"context"
	"embed"
	"io/fs"
)

//go:embed sql/*.sql
var own embed.FS

// Table is where the library's own migrations are recorded.
const Table = "aside_migrations"

// Apply brings the library's own tables in the database at dsn, a URL or "key=value" string of libpq's, to what this
// version of the library needs. It makes them in the first schema of the connection's search_path. See ApplyFS for the
// rest of the contract.
func Apply(ctx context.Context, dsn string) error {
	files, err := fs.Sub(own, "sql")
	if err != nil {
		return err
	}
	return ApplyFS(ctx, dsn, files, Table)
}

package places

import (
	"context"
	"embed"
	"io/fs"

	"github.com/asidego/aside/migrations"
)

//go:embed migrations/*.sql
var files embed.FS

// MigrationsTable is where the database keeps its version.
const MigrationsTable = "places_migrations"

// Migrate makes the tables, or changes those of an older version. Several
// processes may call it at once.
func Migrate(ctx context.Context, url string) error {
	sub, err := fs.Sub(files, "migrations")
	if err != nil {
		return err
	}
	return migrations.ApplyFS(ctx, url, sub, MigrationsTable)
}

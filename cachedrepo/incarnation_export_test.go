package cachedrepo

import (
	"context"

	"github.com/asidego/aside/txhooks"
)

// Incarnation asks a database which it is.
func Incarnation(ctx context.Context, db *txhooks.DB) (uint64, error) {
	return (&runtime{db: db}).incarnation(ctx)
}

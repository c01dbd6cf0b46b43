package txhooks

import (
	"context"
	"errors"

	"github.com/asidego/aside/model"
)

var errNoScopeFunc = errors.New("txhooks.Config.Scope is not set")

// Scope returns the tenant of ctx as the table's scope column has it; the zero Datum if the table has none. It fails with
// a *model.Error of kind ErrNoScope if Config.Scope is not set, fails, or returns nil.
//
// Config.Scope is called for every statement and every cached read of a table with scopes, with contexts that have the
// caller's values but may have another deadline. It must depend on these values alone: reads of one key are shared
// among callers of the same scope.
func (db *DB) Scope(ctx context.Context, rel *model.Relation) (model.Datum, error) {
	if rel.Scope < 0 {
		return model.Datum{}, nil
	}
	err := errNoScopeFunc
	if db.config.Scope != nil {
		var tenant any
		if tenant, err = db.config.Scope(ctx); err == nil {
			return rel.ScopeDatum(tenant)
		}
	}
	return model.Datum{}, &model.Error{Kind: model.ErrNoScope, Table: rel.Name, Err: err}
}

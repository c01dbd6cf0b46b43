package repo

import (
	"context"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/fault"
)

// narrow is what every condition ends in: " AND (filter) AND tenant = $n", without what the table has not. The scope is
// asked for anew in every statement, for the context is what decides.
func (r *SQL[T, K]) narrow(ctx context.Context, a *args) (string, error) {
	scope, err := r.scoped(ctx, a)
	return r.text.filter + scope, err
}

// scoped is narrow without the filter.
func (r *SQL[T, K]) scoped(ctx context.Context, a *args) (string, error) {
	if r.rel.Scope < 0 {
		return "", nil
	}
	d, err := r.db.Scope(ctx, r.rel)
	if err != nil {
		return "", err
	}
	return " AND " + r.text.column(r.rel.Scope) + " = " + a.add(d.Arg()), nil
}

// enter gives a record that is about to be written the scope of ctx, and refuses one of another.
func (r *SQL[T, K]) enter(ctx context.Context, rec *T) error {
	if r.rel.Scope < 0 {
		return nil
	}
	d, err := r.db.Scope(ctx, r.rel)
	if err != nil {
		return err
	}
	return r.rel.PutScope(rec, d)
}

// stays refuses a change that takes a row to another scope.
func (r *SQL[T, K]) stays(before, after model.Image) error {
	if r.rel.Scope >= 0 && r.rel.ScopeOfImage(before) != r.rel.ScopeOfImage(after) {
		return fault.ErrLeavesScope
	}
	return nil
}

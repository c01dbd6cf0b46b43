package cachedrepo

import (
	"context"

	"github.com/asidego/aside/model"
)

// The value under which a row is cached is that of the key or index, behind the scope if the table has scopes: two
// tenants may have the same keys, and no call may find what another tenant's left. Readers take the scope from their
// context, writers from the row's image.

// valueAt appends the value that a place of this access has for a caller.
func (rt *runtime) valueAt(ctx context.Context, buf []model.Datum, a *access, at model.Place) ([]model.Datum, error) {
	if a.table.rel.Scope >= 0 {
		scope, err := rt.db.Scope(ctx, a.table.rel)
		if err != nil {
			return nil, err
		}
		buf = append(buf, scope)
	}
	return at.Data(buf)
}

// valueOf appends the value of a record, to which rec points.
func (a *access) valueOf(buf []model.Datum, rec any) ([]model.Datum, error) {
	if a.table.rel.Scope >= 0 {
		scope, err := a.table.rel.ScopeOf(rec)
		if err != nil {
			return nil, err
		}
		buf = append(buf, scope)
	}
	return a.Of(buf, rec)
}

// valueOfImage appends the value of a row as it was.
func (a *access) valueOfImage(buf []model.Datum, img model.Image) []model.Datum {
	if a.table.rel.Scope >= 0 {
		buf = append(buf, a.table.rel.ScopeOfImage(img))
	}
	return a.OfImage(buf, img)
}

// sensitive says which parts of an access's values must not stand in a key; nil: all may.
func sensitive(rel *model.Relation, a *model.Access) []bool {
	columns := a.Columns
	if rel.Scope >= 0 {
		columns = append([]int{rel.Scope}, columns...)
	}
	var hashed []bool
	for i, c := range columns {
		if rel.Columns[c].Sensitive {
			if hashed == nil {
				hashed = make([]bool, len(columns))
			}
			hashed[i] = true
		}
	}
	return hashed
}

// key is where the row with this value is cached.
func (a *access) key(value []model.Datum) string {
	if a.hashed != nil {
		// Apart from the buffer below: what is handed to a hash escapes, and every hit would pay an allocation for it.
		return string(appendHashedKey([]byte(a.prefix), value, a.hashed, a.secret))
	}
	var buf [192]byte
	return string(appendKey(append(buf[:0], a.prefix...), value))
}

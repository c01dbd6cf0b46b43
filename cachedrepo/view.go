package cachedrepo

import (
	"context"
	"errors"
	"fmt"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// View is the part of a Cache that one decorator of your own interface uses.
type View struct {
	c    *Cache
	name string
}

// View returns the view of this name, which is part of its queries' keys.
func (c *Cache) View(name string) *View { return &View{c, name} }

// Find returns the record at a key or unique value from the cache, or from load, which must return that row and nothing
// else. Wrap and all views share the entry. Each caller has a record of its own. A load that returns a pointer wants
// FindPtr. load runs on another goroutine, and may still run when its caller's context has ended the call: what it uses must
// not be written to afterwards.
//
// "No such row" is cached if load's error is Options.NotFound, sql.ErrNoRows or model.ErrNotFound itself; an error that
// wraps one of them is passed on and not cached.
func Find[T any](ctx context.Context, v *View, at model.One[T], load func(ctx context.Context) (T, error)) (T, error) {
	return find(ctx, v.c, v.name, at.Place(), load, false)
}

// FindPtr is Find for repositories that return pointers. A load that returns nil and no error has its answer passed on
// and not cached.
func FindPtr[T any](ctx context.Context, v *View, at model.One[T], load func(ctx context.Context) (*T, error)) (*T, error) {
	rec, err := find(ctx, v.c, v.name, at.Place(), func(ctx context.Context) (rec T, err error) {
		p, err := load(ctx)
		if err != nil {
			return rec, err
		}
		if p == nil {
			return rec, errNilRecord
		}
		return *p, nil
	}, true)
	if errors.Is(err, errNilRecord) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &rec, nil
}

var errNilRecord = errors.New("aside: the load returned no record and no error")

// Args are booleans, numbers, strings, times, and slices or structs of these.
type Args []any

// Query returns what load returns. It is not cached in this version; name, args and on say under what it will be. on must
// not be empty.
func Query[R any](ctx context.Context, v *View, name string, args Args, on model.Refs, load func(ctx context.Context) (R, error)) (R, error) {
	var none R
	if len(on) == 0 {
		return none, fmt.Errorf("aside: %s.%s: a query depends on something: name its rows, or Table.All()", v.name, name)
	}
	if err := checkRefs(on); err != nil {
		return none, fmt.Errorf("aside: %s.%s: %w", v.name, name, err)
	}
	return load(ctx)
}

// Write runs fn in a transaction that changes the rows at refs; see txhooks.Touch. It fails if fn sent no statement
// through that transaction, as a repository does that still holds a *sqlx.DB.
func (v *View) Write(ctx context.Context, refs model.Refs, fn func(ctx context.Context) error) error {
	if err := checkRefs(refs); err != nil {
		return fmt.Errorf("aside: %s: %w", v.name, err)
	}
	return v.c.db.Run(ctx, func(ctx context.Context) error {
		if len(refs) > 0 {
			if err := txhooks.Touch(ctx, refs...); err != nil {
				return err
			}
		}
		before := v.c.db.Sent(ctx)
		if err := fn(ctx); err != nil {
			return err
		}
		if v.c.db.Sent(ctx) == before {
			return fmt.Errorf("aside: %s sent nothing through its transaction; does it still use *sqlx.DB?", v.name)
		}
		return nil
	})
}

// checkRefs finds what names no rows: nil, a zero One or Many, an index that no table lists.
func checkRefs(refs []model.Ref) error {
	for i, ref := range refs {
		if ref == nil {
			return fmt.Errorf("ref %d is nil", i)
		}
		if err := ref.Place().Check(); err != nil {
			return err
		}
	}
	return nil
}

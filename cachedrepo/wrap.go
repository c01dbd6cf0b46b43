package cachedrepo

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
)

// cached answers Find, FindMany and FindBy from a cache. It has a method for every method of repo.Repository and embeds
// nothing: a method added there does not compile until somebody has decided what it means here.
type cached[T any, K comparable] struct {
	c     *Cache
	plain repo.Repository[T, K]
	acc   *access
	name  string
}

// Wrap returns plain with its Finder methods cached; ListBy and Count pass through in this version. It panics if the
// table is not in Config.Tables. Which table it is, plain tells by a method Table() *model.Table[T, K], as *repo.SQL and
// *memrepo.Repo do; for another type it is the one with this record and key.
func Wrap[T any, K comparable](c *Cache, plain repo.Repository[T, K]) repo.Repository[T, K] {
	var rel *model.Relation
	if p, ok := plain.(interface{ Table() *model.Table[T, K] }); ok {
		rel = p.Table().Relation()
	} else {
		var err error
		if rel, err = c.guess(reflect.TypeFor[T](), reflect.TypeFor[K]()); err != nil {
			panic(err)
		}
	}
	acc, err := c.access(model.Place{Relation: rel, Access: rel.Key})
	if err != nil {
		panic(err)
	}
	return &cached[T, K]{c, plain, acc, rel.Name}
}

// guess finds the table with this record and key.
func (rt *runtime) guess(record, key reflect.Type) (*model.Relation, error) {
	var found *model.Relation
	for rel := range rt.tables {
		if rel.Record != record || rel.Key.Type() != key {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("aside: Wrap: the table may be %s or %s: give the repository a method Table", found.Name, rel.Name)
		}
		found = rel
	}
	if found == nil {
		return nil, fmt.Errorf("aside: Wrap: no table in cachedrepo.Config.Tables has record %s and key %s", record, key)
	}
	return found, nil
}

// Find reads by the key.
func (w *cached[T, K]) Find(ctx context.Context, key K) (T, error) {
	at := w.acc.Place(key)
	rec, err := find(ctx, w.c, w.name, at, func(ctx context.Context) (T, error) {
		return w.plain.Find(ctx, key)
	}, false)
	return rec, asRepository(err, at)
}

// FindBy reads by a unique index.
func (w *cached[T, K]) FindBy(ctx context.Context, at model.One[T]) (T, error) {
	rec, err := find(ctx, w.c, w.name, at.Place(), func(ctx context.Context) (T, error) {
		return w.plain.FindBy(ctx, at)
	}, false)
	return rec, asRepository(err, at.Place())
}

// asRepository says "not found" as a Repository does, also if the entry is that of a view that says sql.ErrNoRows.
func asRepository(err error, at model.Place) error {
	if err == sql.ErrNoRows { //nolint:errorlint // that very value is what a hit returns
		return model.NotFound(at)
	}
	return err
}

// ListBy passes through.
func (w *cached[T, K]) ListBy(ctx context.Context, at model.Many[T], page repo.Page) (repo.List[T], error) {
	return w.plain.ListBy(ctx, at, page)
}

// Count passes through.
func (w *cached[T, K]) Count(ctx context.Context, at model.Many[T]) (int, error) {
	return w.plain.Count(ctx, at)
}

// Insert passes through: writes report to their transaction by themselves.
func (w *cached[T, K]) Insert(ctx context.Context, rec T) (T, error) { return w.plain.Insert(ctx, rec) }

// Modify passes through.
func (w *cached[T, K]) Modify(ctx context.Context, key K, change func(rec *T) error) (T, error) {
	return w.plain.Modify(ctx, key, change)
}

// Update passes through.
func (w *cached[T, K]) Update(ctx context.Context, rec T) (T, error) { return w.plain.Update(ctx, rec) }

// Delete passes through.
func (w *cached[T, K]) Delete(ctx context.Context, key K) error { return w.plain.Delete(ctx, key) }

// find is the READ that Find, FindBy and the functions of a View share.
func find[T any](
	ctx context.Context, c *Cache, name string, at model.Place, load func(ctx context.Context) (T, error), nils bool,
) (T, error) {
	var none T
	if err := c.db.Outer(ctx); err != nil {
		return none, fmt.Errorf("%s: %w", name, err)
	}
	acc, err := c.access(at)
	if err != nil {
		return none, fmt.Errorf("%s: %w", name, err)
	}
	if c.direct(ctx, acc) {
		if _, err := c.db.Scope(ctx, acc.table.rel); err != nil {
			return none, err
		}
		return direct(ctx, acc, load)
	}
	r, err := c.newRead(ctx, name, acc, at, func(ctx context.Context) (any, error) {
		rec, err := load(ctx)
		return &rec, err
	})
	if err != nil {
		return none, err
	}
	if r == nil { // NULL finds no row, and is no key
		return direct(ctx, acc, load)
	}
	r.nils = nils
	start := c.now()
	rec := new(T)
	hit, err := r.into(ctx, rec)
	c.observe(ctx, name, hit, start)
	if err != nil {
		return none, err
	}
	return *rec, nil
}

// direct reads the database for this caller alone.
func direct[T any](ctx context.Context, acc *access, load func(ctx context.Context) (T, error)) (T, error) {
	rec, err := load(ctx)
	if err == nil {
		acc.table.rel.Normalize(&rec)
	}
	return rec, err
}

// newRead makes a read; it returns nil for a value with a NULL in it.
func (c *Cache) newRead(ctx context.Context, name string, acc *access, at model.Place, load func(ctx context.Context) (any, error)) (*read, error) {
	r := &struct {
		read
		look firstLook
	}{}
	ok, err := c.prepare(ctx, &r.read, name, acc, at, load)
	if !ok {
		return nil, err
	}
	r.first = &r.look
	return &r.read, nil
}

// prepare fills in r, a zero read. ok is false for a value with a NULL in it.
func (c *Cache) prepare(ctx context.Context, r *read, name string, acc *access, at model.Place, load func(ctx context.Context) (any, error)) (ok bool, err error) {
	r.c, r.name, r.acc, r.at, r.load = c, name, acc, at, load
	if r.data, err = c.valueAt(ctx, r.buf[:0], acc, at); err != nil {
		return false, fmt.Errorf("%s: %w", name, err)
	}
	if model.HasNull(r.data) {
		return false, nil
	}
	r.key = acc.key(r.data)
	return true, nil
}

// now is the time if somebody wants to know how long a read takes.
func (c *Cache) now() time.Time {
	if o := c.cfg.Observer; o == nil || o.Read == nil {
		return time.Time{}
	}
	return time.Now()
}

func (c *Cache) observe(ctx context.Context, name string, hit bool, start time.Time) {
	if !start.IsZero() {
		c.cfg.Observer.Read(ctx, name, hit, time.Since(start))
	}
}

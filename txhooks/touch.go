package txhooks

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/asidego/aside/model"
)

// touch is a place whose rows will change, or have.
type touch struct {
	rel    *model.Relation
	access *model.Access // nil: all rows
	data   []model.Datum
	scope  model.Datum // of a table with scopes
}

// Touch says that hand-written statements change the rows at refs. It locks them in key order and reads their index columns
// when the next statement runs, and reads again before COMMIT; tables without indexes need neither. After an insert, call
// it with the new row. It fails outside a transaction.
//
// Name rows where they are before the statement; where it takes them is read afterwards. A statement that changes keys is
// the exception: touch the new keys too. So is one that takes rows away from an index that is not unique: others may
// have brought rows there since the look; touch where it takes them too. A ref with NULL names no row. The rows that a ref names are all that its columns
// name, whether the table's Filter lets them through or not; of a table with scopes, those in the scope of ctx.
//
// Touch acts on the innermost transaction in ctx. Its own error is about refs; what goes wrong when the rows are read is
// the error of the statement that waited for it, or of Run.
func Touch(ctx context.Context, refs ...model.Ref) error {
	f := innermost(ctx)
	if f == nil {
		return fmt.Errorf("aside: Touch %w", errOutside)
	}
	touches := make([]touch, 0, len(refs))
	for _, ref := range refs {
		place := ref.Place()
		if err := place.Check(); err != nil {
			return err
		}
		data, err := place.Data(nil)
		if err != nil {
			return err
		}
		scope, err := f.tx.db.Scope(ctx, place.Relation)
		if err != nil {
			return err
		}
		if !model.HasNull(data) {
			touches = append(touches, touch{place.Relation, place.Access, data, scope})
		}
	}
	t := f.tx
	t.mu.Lock()
	if err := t.finished(); err != nil {
		t.mu.Unlock()
		return err
	}
	t.touched = append(t.touched, touches...)
	now := t.shared // the next statement may be one that we do not see
	t.mu.Unlock()
	if now {
		return t.readBefore(ctx)
	}
	return nil
}

// readBefore reads before images that are due. If it fails they stay due, so that no later statement slips past.
func (t *transaction) readBefore(ctx context.Context) error {
	t.mu.Lock()
	due := t.read < len(t.touched)
	t.mu.Unlock()
	if !due {
		return nil
	}
	t.reading.Lock()
	defer t.reading.Unlock()
	t.mu.Lock()
	touched := t.touched[t.read:]
	t.mu.Unlock()
	before := t.before.mark()
	for _, g := range groups(touched) {
		err := t.images(ctx, g, true, func(rows []row) {
			t.mu.Lock()
			defer t.mu.Unlock()
			for _, r := range rows {
				if err := t.before.add(Change{Relation: r.rel, Before: r.image}); err != nil {
					t.db.pool.unspooled(ctx, t.logger(), err)
				}
			}
		})
		if err != nil {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.before.cut(before)
			return err
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.read += len(touched)
	return nil
}

// readAfter reads the rows again: at the places, and wherever those are now that were there before. There is no need to
// lock: the ones from before are, and new ones are ours.
//
// It goes through the before images in parts of inMemory rows. The images of a row are put together if both are at hand:
// of more rows than that, some are reported as deleted and as inserted, which names the same keys.
func (t *transaction) readAfter(ctx context.Context) error {
	t.mu.Lock()
	touched := t.touched
	t.mu.Unlock()
	for _, g := range groups(touched) {
		if g.keysOnly() {
			for rows := range slices.Chunk(g.keys(), chunk) {
				changes := make([]Change, len(rows))
				for i, r := range rows {
					changes[i] = Change{g.rel, r.image, r.image}
				}
				t.add(ctx, changes)
			}
			continue
		}
		missing := placesOfOneRow(g)
		named := true // g's own places are in the first part
		for before := range parts(&t.before, g) {
			p := newPairs(g.rel, before)
			missing.see(before)
			if !named {
				g = &group{rel: g.rel, scope: g.scope, all: g.all, seen: make(map[string]bool)}
			}
			for _, r := range before {
				g.add(touch{g.rel, g.rel.Key, g.rel.Key.OfImage(nil, r.image), g.scope})
			}
			if named || !g.all {
				err := t.images(ctx, g, false, func(rows []row) {
					missing.see(rows)
					for _, r := range rows {
						p.after(r)
					}
					t.add(ctx, p.take())
				})
				if err != nil {
					return err
				}
			}
			t.add(ctx, p.changes)
			named = false
		}
		t.add(ctx, missing.changes())
	}
	// A before image that cannot be read again is one change less: whoever asks must be told.
	if err := t.before.err(); err != nil {
		t.changes.lose(err)
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, p := range touched {
			t.changes.name(p.rel)
		}
	}
	return nil
}

func (t *transaction) add(ctx context.Context, changes []Change) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.addChanges(ctx, changes)
}

// parts yields the before images of a group in parts, one part at least.
func parts(before *spool, g *group) iter.Seq[[]row] {
	return func(yield func([]row) bool) {
		var part []row
		yielded := false
		for c := range before.all() {
			if !g.has(c.Relation, c.Before) {
				continue
			}
			if len(part) == inMemory {
				if !yield(part) {
					return
				}
				part, yielded = nil, true
			}
			part = append(part, rowOf(g.rel, c.Before))
		}
		if len(part) > 0 || !yielded {
			yield(part)
		}
	}
}

// absent are the places of one row at which no row was seen:
//
//	T: Touch(key 1), whose row is not there
//	W: inserts it, commits, returns; a reader caches it
//	T: DELETE ... WHERE id = 1, which finds W's row; commits
//
// The images of that row are not known, but the place is.
type absent struct {
	rel    *model.Relation
	places []touch
	seen   map[string]bool
}

func placesOfOneRow(g *group) *absent {
	a := &absent{rel: g.rel, seen: make(map[string]bool)}
	for _, p := range g.places {
		if p.access.Unique {
			a.places = append(a.places, p)
			a.seen[p.access.Name+"="+comparable(p.data)] = false
		}
	}
	return a
}

func (a *absent) see(rows []row) {
	if len(a.places) == 0 {
		return
	}
	for _, access := range a.rel.Accesses() {
		for _, r := range rows {
			at := access.Name + "=" + comparable(access.OfImage(nil, r.image))
			if _, named := a.seen[at]; named && access.Unique {
				a.seen[at] = true
			}
		}
	}
}

func (a *absent) changes() (changes []Change) {
	for _, p := range a.places {
		if !a.seen[p.access.Name+"="+comparable(p.data)] {
			image := imageAt(p)
			changes = append(changes, Change{a.rel, image, image})
		}
	}
	return changes
}

package txhooks

import (
	"context"
	"fmt"

	"github.com/asidego/aside/model"
)

// touch is a place whose rows will change, or have.
type touch struct {
	rel    *model.Relation
	access *model.Access // nil: all rows
	data   []model.Datum
}

// Touch says that hand-written statements change the rows at refs. It locks them in key order and reads their index columns
// when the next statement runs, and reads again before COMMIT; tables without indexes need neither. After an insert, call
// it with the new row. It fails outside a transaction.
//
// Name rows where they are before the statement; where it takes them is read afterwards. A statement that changes keys is
// the exception: touch the new keys too. So is one that takes rows away from an index that is not unique: others may
// have brought rows there since the look; touch where it takes them too. A ref with NULL names no row. The rows that a ref names are all that its columns
// name, whether the table's Filter lets them through or not.
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
		if !model.HasNull(data) {
			touches = append(touches, touch{place.Relation, place.Access, data})
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
	var before []row
	for _, g := range groups(touched) {
		rows, err := t.images(ctx, g, true)
		if err != nil {
			return err
		}
		before = append(before, rows...)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.before = append(t.before, before...)
	t.read += len(touched)
	return nil
}

// readAfter reads the rows again: at the places, and wherever those are now that were there before. There is no need to
// lock: the ones from before are, and new ones are ours.
func (t *transaction) readAfter(ctx context.Context) ([]Change, error) {
	t.mu.Lock()
	touched, before := t.touched, t.before
	t.mu.Unlock()
	var changes []Change
	for _, g := range groups(touched) {
		if g.keysOnly() {
			for _, r := range g.keys() {
				changes = append(changes, Change{g.rel, r.image, r.image})
			}
			continue
		}
		named := g.places // g grows
		var seen []row
		for _, r := range before {
			if r.rel == g.rel {
				seen = append(seen, r)
				if !g.all {
					g.add(touch{g.rel, g.rel.Key, g.rel.Key.OfImage(nil, r.image)})
				}
			}
		}
		after, err := t.images(ctx, g, false)
		if err != nil {
			return nil, err
		}
		changes = append(changes, pair(g.rel, seen, after)...)
		changes = append(changes, unseen(g.rel, named, append(seen, after...))...)
	}
	return changes, nil
}

// unseen has a change for each place of one row at which no row was seen:
//
//	T: Touch(key 1), whose row is not there
//	W: inserts it, commits, returns; a reader caches it
//	T: DELETE ... WHERE id = 1, which finds W's row; commits
//
// The images of that row are not known, but the place is.
func unseen(rel *model.Relation, places []touch, seen []row) (changes []Change) {
	at := make(map[string]bool)
	for _, p := range places {
		if !p.access.Unique {
			continue
		}
		if len(at) == 0 {
			for _, a := range rel.Accesses() {
				for _, r := range seen {
					at[a.Name+"="+comparable(a.OfImage(nil, r.image))] = a.Unique
				}
			}
		}
		if !at[p.access.Name+"="+comparable(p.data)] {
			image := imageAt(p.access, p.data)
			changes = append(changes, Change{rel, image, image})
		}
	}
	return changes
}

// pair puts together the images of each row. Of several before images the first counts.
func pair(rel *model.Relation, before, after []row) []Change {
	at := make(map[string]int)
	var changes []Change
	for _, r := range before {
		if _, ok := at[r.key]; !ok {
			at[r.key] = len(changes)
			changes = append(changes, Change{Relation: rel, Before: r.image})
		}
	}
	for _, r := range after {
		if i, ok := at[r.key]; ok {
			changes[i].After = r.image
			continue
		}
		at[r.key] = len(changes)
		changes = append(changes, Change{Relation: rel, After: r.image})
	}
	return changes
}

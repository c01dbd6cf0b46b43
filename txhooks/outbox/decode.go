package outbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// row is one of aside_outbox in a relay's hand.
type row struct {
	id      int64
	tx      txhooks.ID // zero: captured
	text    string     // its changes
	changes txhooks.Changes

	// missed are indexes of which the row does not tell the values: it was written by a version of the program, another
	// service or a trigger that does not know these columns. spoiled says why nobody can read it; then missed are the indexes
	// of the tables that it concerns, as far as that can be told, or none, which stands for all.
	missed  []*model.Access
	all     bool
	spoiled error
}

// whole tells whether everything is said.
func (r *row) whole() bool { return len(r.missed) == 0 && !r.all && r.spoiled == nil }

// decode makes changes of the row's text, as far as it can be read.
func (r *row) decode(named map[string][]*model.Relation) (unknown int) {
	var entries []entry
	var changes []txhooks.Change
	defer func() { r.changes = txhooks.ChangesOf(changes...).Of(r.tx) }()
	if err := json.Unmarshal([]byte(r.text), &entries); err != nil {
		r.spoiled, r.all = errors.New("the changes are not what this version writes"), true
		return 0
	}
	for i := range entries {
		e := &entries[i]
		if e.Table == "" || len(e.Columns) == 0 && len(e.Before)+len(e.After) > 0 {
			r.spoiled, r.all = errors.New("the changes name no table, or no columns"), true
			continue
		}
		relations := named[e.Table]
		if relations == nil {
			unknown += max(len(e.Before), len(e.After))
		}
		for _, rel := range relations {
			if e.Stale != "" {
				r.miss(rel.Accesses()...)
			}
			changes = r.read(changes, rel, e)
		}
	}
	return unknown
}

// read appends the changes of one table. An image that cannot be read spoils the row, and leaves the others what they are.
func (r *row) read(changes []txhooks.Change, rel *model.Relation, e *entry) []txhooks.Change {
	for i, side := range [2]rows{e.Before, e.After} {
		for _, texts := range side {
			image, missing, err := rel.ImageOfTexts(e.Columns, texts)
			if err != nil {
				r.spoiled = fmt.Errorf("table %s: %w", e.Table, err)
				r.miss(rel.Accesses()...)
				continue
			}
			if len(missing) > 0 {
				r.lacks(rel, missing)
			}
			c := txhooks.Change{Relation: rel}
			if i == 0 {
				c.Before = image
			} else {
				c.After = image
			}
			changes = append(changes, c)
		}
	}
	return changes
}

// lacks notes the indexes that have one of the missing columns. Without the scope nothing is known of any key. The image
// has NULL there, by which nothing is found, so that it says nothing wrong.
func (r *row) lacks(rel *model.Relation, missing []string) {
	has := func(column int) bool { return !slices.Contains(missing, rel.Columns[column].Name) }
	for _, a := range rel.Accesses() {
		whole := rel.Scope < 0 || has(rel.Scope)
		for _, c := range a.Columns {
			whole = whole && has(c)
		}
		if !whole && a.Unique {
			r.miss(a)
		}
	}
}

func (r *row) miss(accesses ...*model.Access) {
	for _, a := range accesses {
		if !slices.Contains(r.missed, a) {
			r.missed = append(r.missed, a)
		}
	}
}

package txhooks

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/asidego/aside/model"
)

// Change is what became of one row: its image before and after. nil Before: inserted; nil After: deleted. The images may
// be equal: columns that they do not hold can have changed. A row that was touched only after it had changed counts as
// inserted. A place of one row that was touched, and at which there was none, is a change whose images are equal and hold
// the columns of that place alone.
type Change struct {
	Relation      *model.Relation
	Before, After model.Image
}

// Changes are what one transaction changed, in the order in which it was reported.
type Changes struct{ all []Change }

// ChangesOf makes Changes of a list, for tests of a Subscriber.
func ChangesOf(changes ...Change) Changes { return Changes{changes} }

// Len is how many All yields.
func (c Changes) Len() int { return len(c.all) }

// All yields the changes; it can be called again. After it, ask Err whether that was all.
func (c Changes) All() iter.Seq[Change] { return slices.Values(c.all) }

// Err says why All could not yield every change. Those that it did not yield are changes of rows of Tables.
func (c Changes) Err() error { return nil }

// Tables are the tables of which rows changed, each once.
func (c Changes) Tables() []*model.Relation {
	var tables []*model.Relation
	for _, ch := range c.all {
		if !slices.Contains(tables, ch.Relation) {
			tables = append(tables, ch.Relation)
		}
	}
	return tables
}

// Subscriber is told how transactions end (the cache).
type Subscriber interface {
	// Ended is called once per transaction that reported changes, before the user's hooks, on a detached context without
	// the transaction; it returns how many invalidations are pending. A transaction that is rolled back before COMMIT
	// reports what Changed was told; one that reached COMMIT reports all changes, whatever the outcome. changes can be read
	// until Ended returns.
	Ended(ctx context.Context, o Outcome, changes Changes) (pending int)
}

// Subscribe has s told of all transactions of this *sql.DB that end from now on, whichever DB they run on, until cancel is
// called. It ends by itself when nobody holds a DB over the pool or cancel any more.
func (db *DB) Subscribe(s Subscriber) (cancel func()) { return db.pool.subscribe(s) }

// Changed reports changes to the transaction in ctx, for repositories that know their images. It fails outside a
// transaction of db. The images must not be written to afterwards.
func (db *DB) Changed(ctx context.Context, changes ...Change) error {
	f := db.frame(ctx)
	if f == nil {
		return fmt.Errorf("aside: Changed %w", errOutside)
	}
	f.tx.mu.Lock()
	defer f.tx.mu.Unlock()
	if err := f.tx.finished(); err != nil {
		return err
	}
	f.tx.changes = append(f.tx.changes, changes...)
	return nil
}

package txhooks

import (
	"context"
	"fmt"
	"iter"

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

// Changes are what one transaction changed, in the order in which it was reported: 10,000 of them in memory, the others in
// a temporary file. They can be read until Ended returns.
type Changes struct {
	*spool
	id ID
}

// ChangesOf makes Changes of a list, for tests of a Subscriber.
func ChangesOf(changes ...Change) Changes {
	s := new(spool)
	_ = s.add(changes...)
	return Changes{s, newID()}
}

// Of returns c as changes of the transaction id, for a Subscriber that is told of a transaction of another process.
func (c Changes) Of(id ID) Changes { return Changes{c.spool, id} }

// ID is that of the transaction.
func (c Changes) ID() ID { return c.id }

// Len is how many changes there are.
func (c Changes) Len() int { return c.n }

// All yields the changes; it can be called again, and by several goroutines. After it, ask Err whether that was all.
func (c Changes) All() iter.Seq[Change] { return c.all() }

// Err says why All could not yield every change: part of the temporary file cannot be read again. What is missing are
// changes of rows of Tables.
func (c Changes) Err() error { return c.err() }

// Tables are the tables of which rows changed, each once.
func (c Changes) Tables() []*model.Relation { return c.relations() }

// Keep has the changes stay readable after Ended has returned, until release is called: for a Subscriber that needs them
// again. That costs the memory and the open file that they take.
func (c Changes) Keep() (release func()) { return c.keep() }

// Subscriber is told how transactions end (the cache).
type Subscriber interface {
	// Ended is called once per transaction that reported changes, before the user's hooks, on a detached context without
	// the transaction; it returns how many invalidations are pending. A transaction that is rolled back before COMMIT
	// reports what Changed was told; one that reached COMMIT, or a Guard, reports all changes, whatever the outcome.
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
	if f.tx.sealed {
		return fmt.Errorf("aside: Changed: the transaction is about to commit: %w", ErrConcurrent)
	}
	f.tx.addChanges(ctx, changes)
	return nil
}

// addChanges may write to the temporary file. The caller holds mu, or another goroutine could find the transaction ended
// between two changes of one call.
func (t *transaction) addChanges(ctx context.Context, changes []Change) {
	if err := t.changes.add(changes...); err != nil {
		t.db.pool.unspooled(ctx, t.logger(), err)
	}
}

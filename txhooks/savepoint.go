package txhooks

import (
	"context"
	"fmt"
	"strconv"
)

// Savepoint runs fn within the current transaction; its error undoes fn's statements, changes, touches and hooks alone. It
// sends SAVEPOINT, then RELEASE, or after an error, a panic or runtime.Goexit ROLLBACK TO and RELEASE. A statement that failed
// inside, or a Run that did, undoes it even if fn drops the error; Savepoint then returns one that wraps it. It fails
// outside a transaction.
func (db *DB) Savepoint(ctx context.Context, fn func(ctx context.Context) error) error {
	f := db.frame(ctx)
	if f == nil {
		return fmt.Errorf("aside: Savepoint %w", errOutside)
	}
	t := f.tx
	inner, err := t.enter(f)
	if err != nil {
		return err
	}
	defer t.leave(inner)
	// Locks that a savepoint takes are released when it is undone, and others could then change rows whose before images
	// we go on to trust. So the rows touched outside are locked outside.
	if err := t.readBefore(ctx); err != nil {
		return err
	}
	name := "aside_" + strconv.Itoa(inner.depth)
	if err := t.exec(ctx, "SAVEPOINT "+name); err != nil {
		return err
	}
	t.mu.Lock()
	mark := savepoint{t.state, t.changes.mark(), t.before.mark()}
	t.doomed = nil // what doomed the transaction before is not this savepoint's fault
	t.mu.Unlock()

	released := false
	defer func() {
		if !released {
			t.undo(ctx, name, mark)
		}
	}()
	if err := fn(inner.context(ctx)); err != nil {
		return err
	}
	if err := t.release(ctx, inner, name); err != nil {
		return err
	}
	released = true
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doomed == nil {
		t.doomed = mark.doomed
	}
	return nil
}

// release keeps what was done since SAVEPOINT, if all of it worked.
func (t *transaction) release(ctx context.Context, f *frame, name string) error {
	t.mu.Lock()
	doomed, failed, tip := t.doomed, t.failed, t.tip
	t.mu.Unlock()
	switch {
	case doomed != nil:
		return fmt.Errorf("aside: savepoint undone: a Run within it failed: %w", doomed)
	case tip != f:
		return ErrConcurrent
	case ctx.Err() != nil:
		return ctx.Err()
	}
	err := t.exec(ctx, "RELEASE SAVEPOINT "+name)
	if err != nil && failed != nil {
		return fmt.Errorf("aside: savepoint undone: a statement failed and its error was dropped: %w (RELEASE: %w)", failed, err)
	}
	return err
}

// savepoint is what undo brings back.
type savepoint struct {
	state
	changes, before spoolMark
}

// undo brings back what was at SAVEPOINT. It must work when ctx is dead; if it does not, the transaction cannot go on.
func (t *transaction) undo(ctx context.Context, name string, mark savepoint) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	err := t.exec(ctx, "ROLLBACK TO SAVEPOINT "+name)
	if err == nil {
		// Or each failed savepoint of a loop would nest in the one before.
		err = t.exec(ctx, "RELEASE SAVEPOINT "+name)
	}
	t.mu.Lock()
	t.state = mark.state
	t.changes.cut(mark.changes)
	t.before.cut(mark.before)
	t.mu.Unlock()
	if err != nil {
		t.breaks(fmt.Errorf("a savepoint could not be undone: %w", err))
	}
}

// exec sends a statement of our own.
func (t *transaction) exec(ctx context.Context, query string) error {
	_, err := t.tx.ExecContext(ctx, query)
	return t.note(ctx, err)
}

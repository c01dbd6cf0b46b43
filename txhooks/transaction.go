package txhooks

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/faultpoint"
	"github.com/asidego/aside/model"
)

// rollbackTimeout bounds ROLLBACK and ROLLBACK TO on a network that fell silent, with drivers that can be stopped. The server rolls back
// by itself when it notices.
const rollbackTimeout = 5 * time.Second

// transaction is one from BEGIN to its last hook. fn runs on the caller's goroutine and so does everything here, but code
// that shares contexts among goroutines is common enough to be told so rather than to race: hence mu.
type transaction struct {
	db      *DB
	caller  context.Context // the one that Run was given; of an adopted one, that of Commit with the values of Adopt's
	options Options
	outer   *frame             // the innermost transaction around it, of another pool
	conn    *sqlx.Conn         // nil if tx has its connection from the pool
	tx      *sqlx.Tx           // on a context of its own, see begin
	cancel  context.CancelFunc // of that context
	look    queryer            // where images are read once tx is over; nil: they are not

	reading sync.Mutex // held while before images are read

	guarded bool      // a Guard was called
	until   time.Time // when COMMIT must have been sent; zero: whenever

	mu      sync.Mutex // guards all below; never held while something is sent or called
	id      ID
	tip     *frame  // top of the stack of frames
	outcome Outcome // 0: open
	ending  bool    // COMMIT or ROLLBACK is about to be sent
	sealed  bool    // no change can be reported any more
	drained bool    // all hooks were called: new ones are called at once
	shared  bool    // Tx or PrepareContext gave statements a way past us
	sent    int
	witness int64 // what tells the transaction from another on its connection; 0: it was not handed out
	broken  error // why COMMIT must be refused, whatever savepoints undo
	changes spool
	before  spool // the before images of what was touched, as changes without After
	state
}

// state is what a savepoint brings back.
type state struct {
	failed  error // the first statement that failed since the last one that did not: the server will not commit
	doomed  error // why COMMIT must be refused
	touched []touch
	read    int // touched[:read] have had their before images read

	beforeCommit []func() error
	afterCommit  []func(deadline time.Time)
	afterEnd     []func(deadline time.Time, o Outcome)
}

// finished returns an error if the transaction is over. The caller holds mu.
func (t *transaction) finished() error {
	if t.outcome != 0 || t.ending {
		return finishedError{t.outcome}
	}
	return nil
}

// enter pushes a frame on f, which must be the top: a second goroutine's frame would be between the two of the first,
// and its savepoint inside the other's.
func (t *transaction) enter(f *frame) (*frame, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.finished(); err != nil {
		return nil, err
	}
	if t.tip != f {
		return nil, ErrConcurrent
	}
	t.tip = &frame{tx: t, parent: f, depth: f.depth + 1}
	return t.tip, nil
}

// leave pops a frame. One that is not the top was left with another open on it, by a goroutine that nobody waited for: the
// stack stays as it is, and COMMIT will be refused.
func (t *transaction) leave(f *frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tip == f {
		t.tip = f.parent
	}
}

// doom has COMMIT refused.
func (t *transaction) doom(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.doomed == nil {
		t.doomed = err
	}
}

// breaks has COMMIT refused even if a savepoint that is open now is undone.
func (t *transaction) breaks(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.broken == nil {
		t.broken = err
	}
}

// handOut notes that statements can now pass us by, and reads what had to be read before they do.
func (t *transaction) handOut(ctx context.Context) {
	t.mu.Lock()
	over := t.finished() != nil
	t.shared = t.shared || !over
	t.sent++
	t.mu.Unlock()
	if over {
		return
	}
	known.add(t.tx.Tx)
	err := t.readBefore(ctx)
	if err == nil {
		err = t.see(ctx)
	}
	if err != nil {
		t.breaks(err)
	}
}

// commit does what comes before COMMIT, and COMMIT. Its error comes with the outcome.
func (t *transaction) commit(bottom *frame) (Outcome, error) {
	err := t.prepare(bottom)
	if err == nil {
		err = t.guard()
	}
	if err != nil {
		return t.giveUp(err)
	}
	faultpoint.At(faultpoint.BeforeCommit)
	err = t.tx.Commit()
	faultpoint.At(faultpoint.AfterCommit)
	t.mu.Lock()
	failed, shared := t.failed, t.shared
	t.mu.Unlock()
	o := outcomeOf(err, failed != nil, shared)
	t.finish(o)
	if o == InDoubt {
		if o = t.resolve(); o != InDoubt {
			t.mu.Lock()
			t.outcome = o
			t.mu.Unlock()
		}
		switch o {
		case Committed:
			return o, nil
		case RolledBack:
			return o, fmt.Errorf("aside: rolled back: the connection was lost before COMMIT: %w", err)
		}
	}
	switch {
	case err == nil:
		return o, nil
	case o == InDoubt:
		return o, &model.Error{Kind: model.ErrInDoubt, Err: err}
	case failed != nil:
		return o, fmt.Errorf("aside: rolled back: a statement failed and its error was dropped: %w (COMMIT: %w)", failed, err)
	case becameRollback(err):
		return o, fmt.Errorf("aside: rolled back: a statement failed and its error was dropped: %w", err)
	}
	return o, err
}

// prepare runs BeforeCommit hooks, reads the images and writes down what is to be; afterwards only COMMIT is left.
func (t *transaction) prepare(bottom *frame) error {
	for i := 0; ; i++ {
		t.mu.Lock()
		err := t.refusal(bottom)
		if err != nil || i >= len(t.beforeCommit) {
			t.mu.Unlock()
			if err != nil {
				return err
			}
			break
		}
		hook := t.beforeCommit[i]
		t.mu.Unlock()
		if i == 0 { // what hooks send would commit by itself
			if err := t.still(t.caller); err != nil {
				return err
			}
		}
		if err := hook(); err != nil {
			return err
		}
	}
	ctx := bottom.context(t.caller)
	if err := t.flush(ctx); err != nil {
		return err
	}
	t.mu.Lock()
	told := t.changes.mark()
	t.mu.Unlock()
	err := t.readAfter(t.caller)
	if err == nil {
		err = t.stage(ctx)
	}
	if err == nil {
		err = t.still(t.caller)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		err = t.refusal(bottom)
	}
	if err != nil {
		t.changes.cut(told)
		return err
	}
	t.ending = true
	return nil
}

// refusal is why there can be no COMMIT. The caller holds mu.
func (t *transaction) refusal(bottom *frame) error {
	switch {
	case t.broken != nil:
		return fmt.Errorf("aside: rolled back: %w", t.broken)
	case t.doomed != nil:
		return fmt.Errorf("aside: rolled back: a Run within it failed: %w", t.doomed)
	case t.tip != bottom:
		return ErrConcurrent
	}
	return t.caller.Err()
}

// rollback ends the transaction without COMMIT. If ROLLBACK fails the connection is gone, and the transaction with it.
func (t *transaction) rollback(o Outcome) {
	stop := time.AfterFunc(rollbackTimeout, t.cancel)
	_ = t.tx.Rollback()
	stop.Stop()
	t.finish(o)
}

// finish gives the connection back. Nothing is sent any more.
func (t *transaction) finish(o Outcome) {
	t.cancel()
	if t.conn != nil {
		_ = t.conn.Close()
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.outcome = o
}

// close ends the lists of a transaction that has been told of, or never will be.
func (t *transaction) close() {
	t.changes.end()
	t.before.end()
}

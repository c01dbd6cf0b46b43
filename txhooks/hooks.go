package txhooks

import (
	"cmp"
	"context"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/asidego/aside/internal/faultpoint"
)

const hookTimeout = 5 * time.Second

// BeforeCommit runs fn in the transaction, last of all; its error rolls back. Hooks run in the order in which they were
// given, those that hooks give too, and may send statements, Touch, and give further hooks. fn's context has the values of
// ctx and ends with that of the outermost Run. Where nothing is left to roll back an error is logged: outside a transaction
// fn runs at once, on the context of a finished one it does not run.
func BeforeCommit(ctx context.Context, fn func(ctx context.Context) error) {
	f := innermost(ctx)
	if f == nil {
		if err := fn(ctx); err != nil {
			slog.ErrorContext(ctx, "aside: a BeforeCommit hook outside a transaction failed", "error", err)
		}
		return
	}
	t := f.tx
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.finished(); err != nil {
		t.logger().ErrorContext(ctx, "aside: a BeforeCommit hook came too late", "error", err)
		return
	}
	// On the bottom frame: a hook given within a Run or Savepoint runs when that is over, and then the deadlines within are
	// over too.
	bottom := f
	for bottom.parent != nil {
		bottom = bottom.parent
	}
	values := context.WithoutCancel(ctx)
	t.beforeCommit = append(t.beforeCommit, func() error {
		return fn(bottom.context(valuesContext{t.caller, values}))
	})
}

// AfterCommit runs fn when the transaction in ctx has committed and its keys are gone: at once if it already has or if
// there is none, never if it rolled back or is in doubt. fn's context has the values of ctx and outlives the request; it
// ends after Config.HookTimeout. A panic in fn is logged, not passed on. A crash loses fn: what must happen belongs into
// a queue that shares the transaction.
func AfterCommit(ctx context.Context, fn func(ctx context.Context)) {
	f := innermost(ctx)
	if f == nil {
		callNow(nil, ctx, fn)
		return
	}
	t := f.tx
	t.mu.Lock()
	if !t.drained {
		t.afterCommit = append(t.afterCommit, func(deadline time.Time) { t.call(ctx, deadline, fn) })
		t.mu.Unlock()
		return
	}
	o := t.outcome
	t.mu.Unlock()
	if o == Committed {
		callNow(t, ctx, fn)
	}
}

// AfterEnd runs fn with the outcome, whatever it is: after the AfterCommit hooks, at once if the transaction in ctx has
// ended. Outside a transaction fn is told Committed at once: what was done there is.
func AfterEnd(ctx context.Context, fn func(ctx context.Context, o Outcome)) {
	with := func(o Outcome) func(context.Context) {
		return func(ctx context.Context) { fn(ctx, o) }
	}
	f := innermost(ctx)
	if f == nil {
		callNow(nil, ctx, with(Committed))
		return
	}
	t := f.tx
	t.mu.Lock()
	if !t.drained {
		t.afterEnd = append(t.afterEnd, func(deadline time.Time, o Outcome) { t.call(ctx, deadline, with(o)) })
		t.mu.Unlock()
		return
	}
	o := t.outcome
	t.mu.Unlock()
	callNow(t, ctx, with(o))
}

// end runs subscribers and hooks. The transaction is over; nothing can change its outcome any more.
func (t *transaction) end(o Outcome) {
	defer t.drain(o) // deferred: a subscriber may end the goroutine
	defer t.close()
	faultpoint.At(faultpoint.BeforePost)
	t.notify(o)
}

// notify tells the subscribers.
func (t *transaction) notify(o Outcome) {
	changes := t.seal()
	if changes.Len() == 0 {
		return
	}
	// One that is dead is given up long before: a subscriber does not wait for each change anew.
	timeout := t.db.config.HookTimeout * time.Duration(1+changes.Len()/inMemory)
	outside, cancel := context.WithTimeout(t.outside(t.caller), timeout)
	defer cancel()
	subscribers, settlers, all := t.db.pool.subscribed(), participants[Settler](t), 0
	each(func() func() {
		switch {
		case len(subscribers) > 0:
			s := subscribers[0]
			subscribers = subscribers[1:]
			return func() {
				pending := 1 // if s does not get as far as to say
				defer func() {
					report(t.caller, pending)
					all += pending
				}()
				t.protect(outside, func() { pending = s.Ended(outside, o, changes) })
				if len(subscribers) == 0 {
					faultpoint.At(faultpoint.AfterPost)
				}
			}
		case len(settlers) > 0:
			s := settlers[0]
			settlers = settlers[1:]
			return func() {
				faultpoint.At(faultpoint.BeforeSettle)
				t.protect(outside, func() { s.Settled(outside, o, changes, all) })
				faultpoint.At(faultpoint.AfterSettle)
			}
		}
		return nil
	})
}

// drain calls the user's hooks until there are none left.
func (t *transaction) drain(o Outcome) {
	deadline := time.Now().Add(t.db.config.HookTimeout) // of their own, whatever the subscribers took
	each(func() func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if o != Committed {
			t.afterCommit = nil
		}
		switch {
		case len(t.afterCommit) > 0:
			hook := t.afterCommit[0]
			t.afterCommit = t.afterCommit[1:]
			return func() { hook(deadline) }
		case len(t.afterEnd) > 0:
			hook := t.afterEnd[0]
			t.afterEnd = t.afterEnd[1:]
			return func() { hook(deadline, o) }
		}
		t.drained = true
		return nil
	})
}

// each calls what next returns until that is nil, also if one of them ends the goroutine.
func each(next func() func()) {
	done := false
	defer func() {
		if !done {
			each(next)
		}
	}()
	for call := next(); call != nil; call = next() {
		call()
	}
	done = true
}

func (t *transaction) call(ctx context.Context, deadline time.Time, fn func(context.Context)) {
	ctx, cancel := context.WithDeadline(t.outside(ctx), deadline)
	defer cancel()
	t.protect(ctx, func() { fn(ctx) })
}

// callNow calls a hook for which there is nothing to wait; t may be nil.
func callNow(t *transaction, ctx context.Context, fn func(context.Context)) {
	if t != nil {
		t.call(ctx, time.Now().Add(t.db.config.HookTimeout), fn)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), hookTimeout)
	defer cancel()
	guard(ctx, slog.Default(), func() {}, func() { fn(ctx) })
}

func (t *transaction) protect(ctx context.Context, fn func()) {
	guard(ctx, t.logger(), func() { t.db.pool.failures.Add(1) }, fn)
}

func (t *transaction) logger() *slog.Logger { return cmp.Or(t.db.config.Logger, slog.Default()) }

// guard keeps a panic of fn from the caller, whose transaction is over, counts and logs it. A runtime.Goexit is counted
// and logged and goes on: the test or the handler that asked for it is meant.
func guard(ctx context.Context, log *slog.Logger, count, fn func()) {
	ok := false
	defer func() {
		if ok {
			return
		}
		count()
		if v := recover(); v != nil {
			log.ErrorContext(ctx, "aside: a hook panicked", "panic", v, "stack", string(debug.Stack()))
		} else {
			log.ErrorContext(ctx, "aside: a hook ended its goroutine", "stack", string(debug.Stack()))
		}
	}()
	fn()
	ok = true
}

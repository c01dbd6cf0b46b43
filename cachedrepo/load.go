package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
)

// ErrOverload is the error of a load for which no slot of Config.MaxLoads came free in time: the database is the
// bottleneck, and the store cannot help.
var ErrOverload = errors.New("aside: too many loads from the database")

// start runs load for f. after runs when the waiters have the result; f is stored when it returns.
func (fs *flights) start(f *flight, load func(ctx context.Context) *result, after func(ctx context.Context)) {
	landed := fs.takesOff()
	go func() {
		defer landed()
		// Deferred, as a load may end its goroutine. Not f.ctx: the waiters have left by now, and what they leave behind must
		// still be stored.
		defer func() { after(context.WithoutCancel(f.ctx)) }()
		fs.run(f, load)
	}()
}

// queue runs a load that nothing is stored from, and enters it. One is out for a key at a time; whoever comes meanwhile
// shares the next, by S2: a key that cannot be cached costs two queries at a time, however many ask for it.
func (fs *flights) queue(ctx context.Context, key string, load func(ctx context.Context) *result) *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if f := fs.unsent[key]; f != nil && protocol.Joins(store.Token{}, f.token, !f.queued) {
		f.waiters++
		return f
	}
	f := newFlight(ctx)
	before := fs.last[key]
	fs.last[key] = f
	if before != nil {
		// It keeps its place when all who wait for it leave: were it given up, the next to come would not wait for before.
		fs.unsent[key], f.queued = f, true
	}
	running := fs.running
	running.Add(1)
	go func() {
		defer running.Done()
		if before != nil {
			<-before.done
			fs.mu.Lock()
			delete(fs.unsent, key)
			if f.queued = false; f.waiters == 0 {
				f.cancel()
			}
			fs.mu.Unlock()
		}
		defer func() { // a load may end its goroutine
			fs.mu.Lock()
			if fs.last[key] == f {
				delete(fs.last, key)
			}
			fs.mu.Unlock()
			f.cancel()
		}()
		fs.run(f, load)
	}()
	return f
}

// run gets a slot and runs load; whatever becomes of it, done is closed.
func (fs *flights) run(f *flight, load func(ctx context.Context) *result) {
	defer close(f.done)
	ctx, cancel := context.WithTimeoutCause(f.ctx, fs.timeout,
		fmt.Errorf("aside: a load took longer than %s: %w", fs.timeout, context.DeadlineExceeded))
	defer cancel()
	select {
	case fs.slots <- struct{}{}:
		defer func() { <-fs.slots }()
	case <-ctx.Done():
		f.result.err = fmt.Errorf("%w: none of %d ended within %s", ErrOverload, cap(fs.slots), fs.timeout)
		if f.ctx.Err() != nil {
			f.result.err = errNobody
		} else {
			fs.overloads.Add(1)
		}
		return
	}
	finished := false
	defer func() {
		if finished {
			return
		}
		// A panic here has no caller whose stack it could unwind. It becomes an error for all who wait.
		if p := recover(); p != nil {
			f.result.err = fmt.Errorf("aside: a load panicked: %v\n%s", p, debug.Stack())
		} else {
			f.result.err = errors.New("aside: a load ended its goroutine (runtime.Goexit)")
		}
	}()
	r := load(ctx)
	finished = true
	if f.ctx.Err() != nil && r.err != nil {
		r.err = errNobody // the load was ended; whoever joined meanwhile must not take that for the database's trouble
	} else if ctx.Err() != nil && r.err != nil {
		r.err = errors.Join(r.err, context.Cause(ctx))
	}
	f.result.set(r)
}

// takesOff counts a load; the func is called when it has landed.
func (fs *flights) takesOff() (landed func()) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.running.Add(1)
	return fs.running.Done
}

// wait waits for all flights to land that have taken off. Those that take off meanwhile are counted by another group: a
// WaitGroup must not grow from nothing while somebody waits for it, and readers who keep coming must not keep Close.
func (fs *flights) wait(ctx context.Context) {
	landed := make(chan struct{})
	fs.mu.Lock()
	before, next := fs.running, new(sync.WaitGroup)
	fs.running = next
	next.Add(1) // whoever calls wait next waits for these too
	fs.mu.Unlock()
	go func() {
		before.Wait()
		next.Done()
		close(landed)
	}()
	select {
	case <-landed:
	case <-ctx.Done():
	}
}

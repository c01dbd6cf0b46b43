package cachedrepo

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo/internal/protocol"
	"github.com/asidego/aside/cachedrepo/store"
)

// A flight is one load from the database that several callers may wait for. It runs on a goroutine of its own, with the
// values of its first caller's context but not its cancellation, until Config.LoadTimeout or until the last of its
// waiters has left.
//
// Who may join a flight decides whether P1 holds. Joining whatever is running (S0) breaks it:
//
//  1. R1's flight has read the old row.
//  2. W commits, invalidates and returns.
//  3. R2 starts, joins, and gets the old row.
//
// So there are two ways in, and each needs its proof:
//
//   - S1, by lease: the caller's own look at the key, sent after its call began, found the very lease that the flight
//     holds. Then no invalidation came between the start of the flight's read and the caller's look.
//   - S2, unsent: the flight has not sent its read yet, so that it reads after the caller came.
type flight struct {
	token  store.Token // the lease; zero for a flight that nothing is stored from
	leased time.Time   // before it was asked for
	batch  *flight     // whose load brings the result, if it is not the flight's own
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{} // closed when there is a result
	stored chan struct{} // closed when the result is in the store, or will not be

	waiters int  // guarded by flights.mu
	queued  bool // guarded by flights.mu: not sent yet, and may find new waiters when the last has left

	result result // written before done is closed
}

// flights are the loads under way.
type flights struct {
	slots     chan struct{}
	timeout   time.Duration
	overloads atomic.Uint64

	mu      sync.Mutex      // guards all below
	running *sync.WaitGroup // the loads since the last call of wait
	byToken map[store.Token]*flight
	unsent  map[string]*flight // the flight for a key that may be joined by S2
	last    map[string]*flight // the latest flight for a key, which the next one waits for
}

// Reasons why a flight has no answer for those who joined it: they start again.
var (
	errNotGranted = errors.New("aside: the lease was not granted")
	errNobody     = errors.New("aside: nobody waited for the load")
	errOwnOnly    = errors.New("aside: the record cannot be shared")
)

func startAgain(err error) bool {
	return errors.Is(err, errNotGranted) || errors.Is(err, errNobody) || errors.Is(err, errOwnOnly)
}

func newFlights(slots int, timeout time.Duration) *flights {
	return &flights{
		slots: make(chan struct{}, slots), timeout: timeout,
		running: new(sync.WaitGroup),
		byToken: make(map[store.Token]*flight),
		unsent:  make(map[string]*flight),
		last:    make(map[string]*flight),
	}
}

// newFlight makes a flight whose first waiter is the caller, with the values of its context.
func newFlight(ctx context.Context) *flight {
	f := &flight{done: make(chan struct{}), stored: make(chan struct{}), waiters: 1}
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	return f
}

// leased makes the flight of a lease that is about to be asked for. It is known here before the store knows the lease:
// whoever finds the lease there finds the flight here. It ends in start or in notGranted, then in forget.
func (fs *flights) leased(ctx context.Context, batch *flight) *flight {
	f := newFlight(ctx)
	f.token, f.batch, f.leased = store.NewToken(), batch, time.Now()
	fs.mu.Lock()
	fs.byToken[f.token] = f
	fs.mu.Unlock()
	return f
}

// notGranted ends a flight whose lease the store did not give, or nobody knows whether it did.
func (fs *flights) notGranted(f *flight) {
	f.result.err = errNotGranted
	close(f.done)
	fs.forget(f)
}

// forget is called when what came of a leased flight is in the store, or will not be.
func (fs *flights) forget(f *flight) {
	fs.mu.Lock()
	delete(fs.byToken, f.token)
	fs.mu.Unlock()
	f.cancel()
	close(f.stored)
}

// join enters the flight that holds lease t, by S1; nil if it is not this process's, or is being cancelled.
func (fs *flights) join(t store.Token) *flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f := fs.byToken[t]
	if f == nil || !protocol.Joins(t, f.token, true) {
		return nil
	}
	w := f.counted()
	if w.waiters == 0 && !w.landed() {
		return nil
	}
	w.waiters++
	return f
}

// leave is called once by each waiter. The last one ends the load.
func (fs *flights) leave(f *flight) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	w := f.counted()
	if w.waiters--; w.waiters == 0 && !w.queued {
		w.cancel()
	}
}

// counted is the flight whose waiters decide whether the load goes on.
func (f *flight) counted() *flight {
	if f.batch != nil {
		return f.batch
	}
	return f
}

func (f *flight) landed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// await waits for the result. The caller's own trouble is the caller's alone.
func (fs *flights) await(ctx context.Context, f *flight) (*result, error) {
	defer fs.leave(f)
	select {
	case <-f.done:
		return &f.result, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

package faultpoint

import "sync/atomic"

// Point is a place in the course of a write or of a read that misses.
type Point string

// The points of a write, in their order. Those of what is optional (intents, outbox) are passed only where it is on.
const (
	AfterBegin   Point = "after-begin"   // the transaction is open, nothing was sent in it
	BeforeStage  Point = "before-stage"  // all changes are known; the outbox row comes next
	AfterStage   Point = "after-stage"   // the outbox row is in the transaction
	BeforeGuard  Point = "before-guard"  // nothing but COMMIT is left to send; intents come next
	AfterGuard   Point = "after-guard"   // all intents stand
	BeforeCommit Point = "before-commit" // the next thing sent is COMMIT
	AfterCommit  Point = "after-commit"  // the answer to COMMIT is here, or it was lost, and nobody has been told
	BeforePost   Point = "before-post"   // the outcome is known; the post step comes next
	InPost       Point = "in-post"       // within the post step: a server of several, or a chunk of several, has been told
	AfterPost    Point = "after-post"    // every key was released or invalidated, or is pending
	BeforeSettle Point = "before-settle" // the acknowledgement of the outbox row comes next
	AfterSettle  Point = "after-settle"  // the next thing is that the caller gets its answer
)

// The points of a read that misses.
const (
	AfterAcquire Point = "after-acquire" // the lease is granted, the database has not been asked
	BeforeFill   Point = "before-fill"   // the database has answered, the store has not been told
)

// Writes are the points of a write, and Reads those of a read, for who strikes at each of them.
var (
	Writes = []Point{
		AfterBegin, BeforeStage, AfterStage, BeforeGuard, AfterGuard, BeforeCommit,
		AfterCommit, BeforePost, InPost, AfterPost, BeforeSettle, AfterSettle,
	}
	Reads = []Point{AfterAcquire, BeforeFill}
)

var armed atomic.Pointer[func(Point)]

// At does what is armed for p: usually nothing.
func At(p Point) {
	if f := armed.Load(); f != nil {
		(*f)(p)
	}
}

// Set has At call f, on the goroutine that passes, until restore is called. One func at a time: a test that sets one must
// not run beside others of its process that do, and sees what they do pass.
func Set(f func(p Point)) (restore func()) {
	before := armed.Swap(&f)
	return func() { armed.Store(before) }
}

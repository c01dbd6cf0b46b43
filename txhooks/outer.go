package txhooks

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"runtime"
	"strconv"
	"sync"
)

// ErrOuterContext is returned under Config.RefuseOuter.
var ErrOuterContext = errors.New("aside: this is the context outside the transaction that is open here; use the one that its function was given")

// Outer fails with ErrOuterContext if db was told to look for outer contexts and ctx is one. Statements through db ask it;
// it is for what answers in place of a statement, as a cache does.
func (db *DB) Outer(ctx context.Context) error {
	if !db.config.RefuseOuter {
		return nil
	}
	return db.pool.outer.check(db, ctx)
}

// outerContexts are those that were given to the Runs which are open now, by goroutine.
//
// The goroutine is what makes the answer sure. A context alone says little: it may be shared by two Runs side by side (an
// errgroup), by all requests, or be context.Background. But where the function given to Run is under way on this very
// goroutine, and a statement comes on a context that has no transaction and is, or was made from, the one given to Run,
// somebody took the wrong one of two. What a goroutine sends that the function has started is not seen.
type outerContexts struct {
	mu   sync.Mutex
	open map[uint64][]context.Context
}

// enter notes ctx until leave is called.
func (o *outerContexts) enter(ctx context.Context) (leave func()) {
	id := goroutine()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.open == nil {
		o.open = make(map[uint64][]context.Context)
	}
	depth := len(o.open[id])
	o.open[id] = append(o.open[id], ctx)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		if o.open[id] = o.open[id][:depth]; depth == 0 {
			delete(o.open, id)
		}
	}
}

func (o *outerContexts) check(db *DB, ctx context.Context) error {
	if db.In(ctx) {
		return nil
	}
	o.mu.Lock()
	given := o.open[goroutine()]
	o.mu.Unlock()
	for _, g := range given {
		if madeFrom(ctx, g) {
			return ErrOuterContext
		}
	}
	return nil
}

// madeFrom tells whether ctx is from, or was made from it by WithValue, WithCancel, WithTimeout or a type of the user's that
// embeds its parent. WithoutCancel ends the line: whoever calls that wants to be apart. Of the contexts that have no parent
// themselves only the very one counts, or everything would be made from context.Background.
func madeFrom(ctx, from context.Context) bool {
	if same(ctx, from) {
		return true
	}
	if parent(from) == nil {
		return false
	}
	for ctx = parent(ctx); ctx != nil; ctx = parent(ctx) {
		if same(ctx, from) {
			return true
		}
	}
	return false
}

func same(a, b context.Context) bool {
	return reflect.ValueOf(a).Comparable() && reflect.ValueOf(b).Comparable() && a == b
}

// parent is the context that ctx embeds, as the types of the standard library do, too: there is no other way to ask.
func parent(ctx context.Context) context.Context {
	v := reflect.ValueOf(ctx)
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct {
		return nil
	}
	field := v.FieldByName("Context")
	if !field.IsValid() || !field.CanInterface() {
		return nil
	}
	p, _ := field.Interface().(context.Context)
	return p
}

// goroutine is the number that a stack trace begins with. This is slow, and for tests.
func goroutine() uint64 {
	var buf [64]byte
	text := buf[:runtime.Stack(buf[:], false)]
	text = bytes.TrimPrefix(text, []byte("goroutine "))
	number, _, _ := bytes.Cut(text, []byte(" "))
	id, _ := strconv.ParseUint(string(number), 10, 64)
	return id
}

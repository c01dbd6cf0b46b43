package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/asidego/aside/internal/localserver"
)

// TB is the part of testing.TB that this package needs.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Main is a package's TestMain: it runs the tests, stops the shared servers,
// looks for leaked goroutines and exits.
func Main(m interface{ Run() int }, options ...goleak.Option) {
	redis.SetLogger(silent{}) // clients of servers that tests take away
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, "testenv:", err)
		code = max(code, 1)
	}
	// After a failure leaked goroutines are no news.
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, "testenv: the tests passed, but", err)
			code = 1
		}
	}
	os.Exit(code)
}

type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// shared is what the process's tests have in common and Main has to close.
var shared struct {
	mu      sync.Mutex
	closers []func() error
}

func closeAtEnd(closer func() error) {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.closers = append(shared.closers, closer)
}

func closeShared() error {
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var errs []error
	for i := len(shared.closers) - 1; i >= 0; i-- {
		errs = append(errs, shared.closers[i]())
	}
	shared.closers = nil
	return errors.Join(errs...)
}

// must ends the test if a server could not be had.
func must[T any](t TB, value T, err error) T {
	t.Helper()
	if errors.Is(err, localserver.ErrNotInstalled) {
		t.Fatalf("%v: run `make setup`", err)
	}
	if err != nil {
		t.Fatalf("%v", err)
	}
	return value
}

// check is must for what returns nothing but an error.
func check(t TB, err error) {
	t.Helper()
	must(t, struct{}{}, err)
}

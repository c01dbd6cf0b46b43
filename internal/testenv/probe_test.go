package testenv

import (
	"fmt"
	"runtime"
	"testing"
)

// probeTB records the Fatalf of what is tested instead of failing the test.
type probeTB struct {
	testing.TB
	fatal string
}

func (p *probeTB) Fatalf(format string, args ...any) {
	p.fatal = fmt.Sprintf(format, args...)
	runtime.Goexit()
}

// run calls f on a goroutine of its own, which Fatalf may end.
func (p *probeTB) run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	<-done
}

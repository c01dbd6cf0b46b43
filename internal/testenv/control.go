package testenv

import (
	"context"

	"github.com/asidego/aside/internal/localserver"
)

// control breaks and mends a server that belongs to one test. What does not
// work ends the test, so its methods belong in the test's goroutine.
type control struct {
	t      TB
	server *localserver.Server
}

// Stop freezes the server (SIGSTOP): connections stay open, nothing answers.
func (c control) Stop() {
	c.t.Helper()
	check(c.t, c.server.Stop())
}

// Continue lets a frozen server go on (SIGCONT).
func (c control) Continue() {
	c.t.Helper()
	check(c.t, c.server.Continue())
}

// Kill ends the server as a crash would (SIGKILL) and returns when it is gone.
func (c control) Kill() {
	c.t.Helper()
	check(c.t, c.server.Kill())
}

// Start runs the server again after Kill, on the same port and data, and
// returns when it answers.
func (c control) Start() {
	c.t.Helper()
	check(c.t, c.server.Start(context.Background()))
}

// Pid returns the server's process id, 0 while it does not run.
func (c control) Pid() int { return c.server.Pid() }

// Log returns the last lines that the server logged.
func (c control) Log() string { return c.server.Log() }

package localserver

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"
)

// sleeper is a process that does nothing until its input ends.
func sleeper(t *testing.T) (cmd *exec.Cmd, finish func()) {
	t.Helper()
	cmd = exec.Command("/bin/sh", "-c", "while read x; do :; done")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, func() { _ = stdin.Close() }
}

// The guard is what ends servers on systems without a parent death signal; it
// works on all.
func TestGuardEndsTheServerWhenItsOwnerIsGone(t *testing.T) {
	t.Parallel()
	server, finish := sleeper(t)
	defer finish()
	g, err := newGuard(server.Process.Pid, syscall.SIGQUIT)
	if err != nil {
		t.Fatal(err)
	}
	_ = g.owner.Close() // as the kernel does when the owner dies
	var exit *exec.ExitError
	if err := server.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGQUIT {
		t.Errorf("server ended with %v, want SIGQUIT", err)
	}
	_ = g.cmd.Process.Kill() // it waits to make sure
	_ = g.cmd.Wait()
}

func TestDismissedGuardHarmsNobody(t *testing.T) {
	t.Parallel()
	server, finish := sleeper(t)
	g, err := newGuard(server.Process.Pid, syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	g.dismiss()
	finish()
	if err := server.Wait(); err != nil {
		t.Errorf("server ended with %v, want no error", err)
	}
}

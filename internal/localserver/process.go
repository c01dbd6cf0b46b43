package localserver

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
)

// process is one run of a server's program.
type process struct {
	cmd    *exec.Cmd
	exited chan struct{} // closed once the program has ended and was waited for
}

// launch is what it takes to run a server's program.
type launch struct {
	path        string
	args        []string
	folder      *folder
	account     *account
	ifOwnerDies syscall.Signal
}

// run starts the program. Linux sends the parent death signal when the thread
// that forked ends, not the process, so the goroutine that forks keeps its
// thread until the program has ended.
func (l launch) run() (*process, error) {
	log, err := os.OpenFile(l.folder.logFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the program has its own handle by then

	cmd := exec.Command(l.path, l.args...)
	cmd.Dir = l.folder.data()
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = attributes(l.account, l.ifOwnerDies)

	p := &process{cmd: cmd, exited: make(chan struct{})}
	started := make(chan error)
	release := make(chan func(), 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is in its log
			(<-release)()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", l.path, err)
	}
	dismiss, err := l.guard(p)
	release <- dismiss
	if err != nil {
		killTree(p.pid())
		<-p.exited
		return nil, err
	}
	return p, nil
}

// guard makes sure that a leftover server can be found, and on systems whose
// kernel does not do it, that somebody ends it.
func (l launch) guard(p *process) (dismiss func(), err error) {
	nobody := func() {}
	pid := strconv.Itoa(p.pid())
	if err := os.WriteFile(l.folder.pidFile(), []byte(pid), 0o644); err != nil {
		return nobody, err
	}
	if guarded {
		return nobody, nil
	}
	guard, err := newGuard(p.pid(), l.ifOwnerDies)
	if err != nil {
		return nobody, fmt.Errorf("start guard: %w", err)
	}
	return guard.dismiss, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// environment is ours without libpq's variables, which would reach initdb and
// postgres, and with a fixed language, for logs are searched for messages.
func environment() []string {
	env := []string{"LC_ALL=C", "LANG=C"}
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

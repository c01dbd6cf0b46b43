package localserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/asidego/aside/internal/loopback"
)

const (
	startDeadline = time.Minute
	closeDeadline = 5 * time.Second
	pollInterval  = 5 * time.Millisecond
	logTail       = 30 // lines
)

// Options are what a caller may choose about a server. The zero value is fine.
type Options struct {
	// Args are handed to the server's program after our own, so that they win:
	// "-c", "synchronous_commit=off" for PostgreSQL, "--maxmemory", "10mb" for
	// Redis.
	Args []string
}

// Server is what a PostgreSQL and a Redis of one's own have in common. Its
// methods may be called from several goroutines.
type Server struct {
	kind    kind
	folder  *folder
	account *account

	mu      sync.Mutex
	port    int // chosen at the first start, kept from then on
	process *process
	closed  bool
}

// kind is what differs between PostgreSQL and Redis.
type kind interface {
	// command returns the program and its arguments.
	command(f *folder, port int) (path string, args []string)
	// ready tells whether the server that runs as pid answers.
	ready(ctx context.Context, f *folder, pid int, address string) bool
	// quit is the signal that ends the server fast and leaves nothing behind.
	quit() syscall.Signal
}

// transient are the log messages after which another attempt may succeed: a
// port taken by somebody else, and a killed postmaster's children not gone yet.
var transient = []string{"Address already in use", "pre-existing shared memory block"}

// Addr returns the server's "127.0.0.1:port". It stays the same over restarts.
func (s *Server) Addr() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.address()
}

func (s *Server) address() string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port))
}

// Pid returns the process id of the running server, 0 if it does not run.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || !s.process.running() {
		return 0
	}
	return s.process.pid()
}

// Log returns the last lines that the server logged.
func (s *Server) Log() string { return s.logSince(0) }

// Start runs the server again after Kill, on the same port and data, and
// returns once it answers. It does nothing if the server runs.
func (s *Server) Start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.New("localserver: server is closed")
	}
	if s.process != nil && s.process.running() {
		return nil
	}
	fixed := s.port != 0
	for {
		logged := s.logSize()
		err := s.attempt(ctx, fixed)
		if err == nil {
			return nil
		}
		tail := s.logSince(logged)
		if ctx.Err() == nil && containsAny(tail, transient) {
			if fixed {
				pause(ctx)
			}
			continue
		}
		return fmt.Errorf("localserver: %w; its log ends:\n%s", err, tail)
	}
}

// attempt starts the server once and waits until it answers, exits or the
// context ends. The caller holds mu.
func (s *Server) attempt(ctx context.Context, fixed bool) error {
	if !fixed {
		port, err := loopback.FreePort()
		if err != nil {
			return err
		}
		s.port = port
	}
	path, args := s.kind.command(s.folder, s.port)
	process, err := launch{
		path: path, args: args, folder: s.folder, account: s.account, ifOwnerDies: s.kind.quit(),
	}.run()
	if err != nil {
		return err
	}
	for !s.kind.ready(ctx, s.folder, process.pid(), s.address()) {
		switch {
		case !process.running():
			return fmt.Errorf("%s ended at once", path)
		case ctx.Err() != nil:
			killTree(process.pid())
			<-process.exited
			return fmt.Errorf("%s did not answer: %w", path, ctx.Err())
		}
		pause(ctx)
	}
	s.process = process
	return nil
}

// Stop freezes the server with SIGSTOP, children included: connections stay
// open and nothing answers.
func (s *Server) Stop() error { return s.signal("stop", syscall.SIGSTOP) }

// Continue lets a frozen server go on.
func (s *Server) Continue() error { return s.signal("continue", syscall.SIGCONT) }

// Kill ends the server with SIGKILL, children included, as a crash would, and
// returns when it is gone. Data and port are kept for Start.
func (s *Server) Kill() error {
	if err := s.signal("kill", syscall.SIGKILL); err != nil {
		return err
	}
	s.mu.Lock()
	process := s.process
	s.mu.Unlock()
	<-process.exited
	return nil
}

func (s *Server) signal(verb string, signal syscall.Signal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || !s.process.running() {
		return fmt.Errorf("localserver: %s: the server does not run", verb)
	}
	signalTree(s.process.pid(), signal)
	return nil
}

// Close ends the server and removes its folder. It may be called again.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	if s.process != nil && s.process.running() {
		pid := s.process.pid()
		_ = syscall.Kill(pid, s.kind.quit())
		signalTree(pid, syscall.SIGCONT) // it may be frozen
		select {
		case <-s.process.exited:
		case <-time.After(closeDeadline):
			killTree(pid)
			<-s.process.exited
		}
	}
	if err := s.folder.remove(); err != nil {
		return fmt.Errorf("localserver: remove %s: %w", s.folder.path, err)
	}
	return nil
}

func (s *Server) logSize() int64 {
	info, err := os.Stat(s.folder.logFile())
	if err != nil {
		return 0 // not started yet
	}
	return info.Size()
}

// logSince returns the last lines logged after an offset.
func (s *Server) logSince(offset int64) string {
	text, err := os.ReadFile(s.folder.logFile())
	if err != nil || offset > int64(len(text)) {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(text[offset:])), "\n")
	return strings.Join(lines[max(0, len(lines)-logTail):], "\n")
}

func containsAny(text string, parts []string) bool {
	for _, part := range parts {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// pause waits for one poll interval or the end of the context.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(pollInterval):
	}
}

package soak

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a child as its parent sees it.
type process struct {
	setting
	cmd    *exec.Cmd
	in     io.WriteCloser
	ready  chan struct{}
	paused chan map[string]int64
	gone   chan struct{} // closed when it has ended and all that it said was read
	died   int64         // when; set before gone is closed
	failed error

	mu sync.Mutex // guards in
}

// patience is how long a child may take to answer while everything around it works.
const patience = 20 * time.Second

// start starts a child; tell is called with all that it says, from one goroutine.
func start(s setting, tell func(p *process, e event)) (*process, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	p := &process{
		setting: s, cmd: exec.Command(os.Args[0]),
		ready: make(chan struct{}), paused: make(chan map[string]int64, 1), gone: make(chan struct{}),
	}
	p.cmd.Env = append(os.Environ(), settingVariable+"="+string(text), "GORACE=halt_on_error=1")
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go p.listen(out, tell)
	return p, nil
}

func (p *process) listen(out io.Reader, tell func(p *process, e event)) {
	defer close(p.gone)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			break // the last line of one that was killed
		}
		switch e.Kind {
		case evReady:
			close(p.ready)
		case evPaused:
			p.paused <- e.Stats
		case evError:
			p.failed = errors.New(e.Err)
		default:
			tell(p, e)
		}
	}
	_, _ = io.Copy(io.Discard, out)
	_ = p.cmd.Wait()
	p.died = now()
}

func (p *process) say(verb, arg string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return json.NewEncoder(p.in).Encode(command{verb, arg})
}

func (p *process) alive() bool {
	select {
	case <-p.gone:
		return false
	default:
		return true
	}
}

// await waits for the child to be ready.
func (p *process) await() error {
	select {
	case <-p.ready:
		return nil
	case <-p.gone:
		return fmt.Errorf("%s ended: %w", p.Name, errors.Join(p.failed, errors.New(p.cmd.ProcessState.String())))
	case <-time.After(patience):
		return fmt.Errorf("%s does not start", p.Name)
	}
}

// pause has the workers stand still and returns the child's counters; nil if it has died.
func (p *process) pause() (map[string]int64, error) {
	if err := p.say("pause", ""); err != nil {
		<-p.gone
		return nil, nil
	}
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for deadline := now() + int64(patience); now() < deadline; {
		select {
		case stats := <-p.paused:
			return stats, nil
		case <-p.gone:
			return nil, p.failed
		case <-again.C:
			p.signal(syscall.SIGCONT) // a strike that came late may have stopped it
		}
	}
	return nil, fmt.Errorf("%s does not stand still: an operation hangs", p.Name)
}

func (p *process) signal(s syscall.Signal) {
	if p.alive() {
		_ = p.cmd.Process.Signal(s)
	}
}

// end kills the child; it does not matter what it was doing.
func (p *process) end() {
	p.signal(syscall.SIGKILL)
	<-p.gone
	_ = p.in.Close()
}

// wasKilled tells whether a process that has ended was killed, which is what faults do to it. One that panics, or in
// which the race detector finds something, ends otherwise.
func (p *process) wasKilled() bool {
	status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == syscall.SIGKILL
}

package faultpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Env is the variable that ArmFromEnv reads.
const Env = "ASIDE_FAULT"

// ArmFromEnv arms what the environment says, see Arm, and nothing if it says nothing. It is for the main function of a
// child process that a test starts.
func ArmFromEnv() error {
	text := os.Getenv(Env)
	if text == "" {
		return nil
	}
	_, err := Arm(text)
	return err
}

// Arm arms points from a text, in place of what was armed before: "after-commit:kill", or several with commas between. A
// point can be followed by how many passes come first, which go unharmed: "after-commit+3:kill" strikes the fourth. Each
// strikes once. Actions are
//
//	kill       SIGKILL to this process: nothing deferred runs, nothing is sent
//	stop       SIGSTOP to this process: until somebody sends SIGCONT
//	sleep=50ms the goroutine that passes sleeps
//	exit       the process ends with status 3
//
// fired counts the passes that struck, for actions that leave a process to ask.
func Arm(text string) (fired *atomic.Int64, err error) {
	fired = new(atomic.Int64)
	strikes := make(map[Point]*strike)
	for part := range strings.SplitSeq(text, ",") {
		p, s, err := parse(part)
		if err != nil {
			return nil, fmt.Errorf("faultpoint: %q: %w", part, err)
		}
		strikes[p] = s
	}
	Set(func(p Point) {
		if s := strikes[p]; s != nil && s.left.Add(-1) == -1 {
			fired.Add(1)
			s.do()
		}
	})
	return fired, nil
}

// Disarm has every point be passed again.
func Disarm() { armed.Store(nil) }

// strike is what will happen at a point once left passes have gone by.
type strike struct {
	left atomic.Int64
	do   func()
}

func parse(part string) (Point, *strike, error) {
	name, action, ok := strings.Cut(strings.TrimSpace(part), ":")
	if !ok {
		return "", nil, fmt.Errorf("want point:action")
	}
	s := new(strike)
	name, count, ok := strings.Cut(name, "+")
	if ok {
		n, err := strconv.ParseUint(count, 10, 31)
		if err != nil {
			return "", nil, fmt.Errorf("passes: %w", err)
		}
		s.left.Store(int64(n))
	}
	p := Point(name)
	if !slices.Contains(Writes, p) && !slices.Contains(Reads, p) {
		return "", nil, fmt.Errorf("there is no point %s", name)
	}
	action, arg, _ := strings.Cut(action, "=")
	switch action {
	case "kill":
		s.do = kill
	case "stop":
		s.do = stop
	case "exit":
		s.do = func() { os.Exit(3) }
	case "sleep":
		d, err := time.ParseDuration(arg)
		if err != nil {
			return "", nil, err
		}
		s.do = func() { time.Sleep(d) }
	default:
		return "", nil, fmt.Errorf("there is no action %s", action)
	}
	return p, s, nil
}

// kill ends the process as a crash does. The signal is not delivered before the call returns on every system: nobody may go
// on meanwhile.
func kill() {
	if p, err := os.FindProcess(os.Getpid()); err == nil {
		_ = p.Kill()
	}
	select {}
}

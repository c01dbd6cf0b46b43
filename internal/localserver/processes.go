package localserver

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// commandLine returns the command line of a process, or "" if there is none.
func commandLine(pid int) string {
	if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil {
		return string(bytes.ReplaceAll(text, []byte{0}, []byte{' '}))
	}
	text, err := exec.Command("ps", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return ""
	}
	return string(text)
}

// children returns the processes whose parent is pid. PostgreSQL's backends
// leave their postmaster's process group, so a signal to the group misses them.
func children(pid int) []int {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	if len(stats) == 0 { // no /proc: macOS
		text, err := exec.Command("pgrep", "-P", strconv.Itoa(pid)).Output()
		if err != nil {
			return nil
		}
		return numbers(strings.Fields(string(text)))
	}
	var found []string
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue // ended meanwhile
		}
		// "pid (name) state parent ...", and the name may hold anything.
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			found = append(found, filepath.Base(filepath.Dir(path)))
		}
	}
	return numbers(found)
}

func numbers(texts []string) []int {
	var out []int
	for _, text := range texts {
		if n, err := strconv.Atoi(text); err == nil {
			out = append(out, n)
		}
	}
	return out
}

// signalTree sends a signal to a process and its children. The parent is
// stopped first so that it cannot make a child between the two steps.
func signalTree(pid int, signal syscall.Signal) {
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	for _, child := range children(pid) {
		_ = syscall.Kill(child, signal)
	}
	_ = syscall.Kill(pid, signal)
}

func killTree(pid int) { signalTree(pid, syscall.SIGKILL) }

// removeSharedMemory frees the segment that a killed postmaster leaves behind
// (it only guards the data folder, but the system has few of them). Its id is
// in the seventh line of postmaster.pid; without that file there is nothing.
func removeSharedMemory(data string) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 7 {
		return
	}
	if fields := strings.Fields(lines[6]); len(fields) == 2 {
		_ = exec.Command("ipcrm", "-m", fields[1]).Run() // gone already is fine
	}
}

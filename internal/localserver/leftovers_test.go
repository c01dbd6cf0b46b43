package localserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asOwner, when set, makes this binary a process that starts both servers,
// says so and waits to be killed.
const asOwner = "ASIDE_LOCALSERVER_OWNER"

func TestMain(m *testing.M) {
	if os.Getenv(asOwner) != "" {
		owner()
	}
	goleak.VerifyTestMain(m)
}

func owner() {
	pg, err := StartPostgres(context.Background(), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	redis, err := StartRedis(context.Background(), Options{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(pg.Pid(), pg.folder.path, redis.Pid(), redis.folder.path)
	select {}
}

// A process that is killed takes its servers along, and the next one removes
// their folders.
func TestServersDieWithTheirOwner(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asOwner+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	said := strings.Fields(line)
	if len(said) != 4 {
		t.Fatalf("owner said %q", line)
	}
	for i := 0; i < len(said); i += 2 {
		pid, _ := strconv.Atoi(said[i])
		waitGone(t, pid, said[i+1])
	}
	startRedis(t) // sweeps
	for i := 1; i < len(said); i += 2 {
		if _, err := os.Stat(said[i]); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s was not swept: %v", said[i], err)
		}
	}
}

// waitGone waits until no process pid runs on the folder.
func waitGone(t *testing.T, pid int, folder string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for strings.Contains(commandLine(pid), folder) {
		if pause(ctx); ctx.Err() != nil {
			t.Fatalf("process %d on %s outlived its owner", pid, folder)
		}
	}
}

// The sweep ends a server that did outlive its owner, and no other process.
func TestSweepEndsLeftoverServers(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	left := &folder{path: filepath.Join(root, "redis-1")}
	if err := os.MkdirAll(left.data(), 0o700); err != nil {
		t.Fatal(err)
	}
	// A shell stands in for the server: its command line names the folder.
	server := exec.Command("/bin/sh", "-c", "while read x; do :; done", left.data())
	stdin, err := server.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer stdin.Close()
	if err := os.WriteFile(left.pidFile(), fmt.Appendln(nil, server.Process.Pid), 0o600); err != nil {
		t.Fatal(err)
	}
	// The other folder's id was given to a process of somebody else: this one.
	reused := &folder{path: filepath.Join(root, "redis-2")}
	if err := os.MkdirAll(reused.path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(reused.pidFile(), fmt.Append(nil, os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	sweep(root)
	var exit *exec.ExitError
	if err := server.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("leftover server ended with %v, want SIGKILL", err)
	}
	if entries, _ := os.ReadDir(root); len(entries) != 0 {
		t.Errorf("left in the root: %v", entries)
	}
}

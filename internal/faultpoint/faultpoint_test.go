package faultpoint

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A child passes the point named by its environment.
func TestMain(m *testing.M) {
	if p := os.Getenv("FAULTPOINT_CHILD"); p != "" {
		if err := ArmFromEnv(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		defer fmt.Println("deferred")
		for i := range 3 {
			fmt.Println("pass", i)
			At(Point(p))
		}
		fmt.Println("survived")
		return
	}
	os.Exit(m.Run())
}

func child(t *testing.T, point Point, fault string) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "FAULTPOINT_CHILD="+string(point), Env+"="+fault)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd, &out
}

func TestKillLeavesNothingToRun(t *testing.T) {
	cmd, out := child(t, AfterCommit, "before-commit:kill,after-commit+1:kill")
	err := cmd.Wait()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("ended with %v, want SIGKILL", err)
	}
	if got := strings.Fields(out.String()); strings.Join(got, " ") != "pass 0 pass 1" {
		t.Errorf("said %q: it must die at the second pass", out)
	}
}

func TestNothingArmedInTheEnvironment(t *testing.T) {
	cmd, out := child(t, AfterCommit, "")
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "survived") {
		t.Errorf("%v, said %q", err, out)
	}
}

func TestUnknownPointsAreRefused(t *testing.T) {
	for _, text := range []string{"after-comit:kill", "after-commit", "after-commit:kil", "after-commit:sleep=x", "after-commit+x:kill"} {
		if _, err := Arm(text); err == nil {
			Disarm()
			t.Errorf("%q is taken", text)
		}
	}
	if armed.Load() != nil {
		t.Error("something is armed")
	}
}

func TestSleepStrikesOnce(t *testing.T) {
	fired, err := Arm("in-post:sleep=20ms")
	if err != nil {
		t.Fatal(err)
	}
	defer Disarm()
	began := time.Now()
	At(AfterPost)
	At(InPost)
	if took := time.Since(began); took < 20*time.Millisecond {
		t.Errorf("took %v", took)
	}
	At(InPost)
	if n := fired.Load(); n != 1 {
		t.Errorf("struck %d times", n)
	}
}

func TestSetRestores(t *testing.T) {
	var passed []Point
	restore := Set(func(p Point) { passed = append(passed, p) })
	At(AfterBegin)
	restore()
	At(AfterPost)
	if len(passed) != 1 || passed[0] != AfterBegin {
		t.Errorf("passed %v", passed)
	}
}

// What every write of every program pays for the points.
func BenchmarkAt(b *testing.B) {
	for b.Loop() {
		At(AfterCommit)
	}
}

func TestAtDoesNotAllocate(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { At(AfterCommit) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

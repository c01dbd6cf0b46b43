package localserver

import (
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
)

// guard is a shell that waits for its owner's death: it reads from a pipe of
// which the owner alone has the other end, and the kernel closes that end
// whatever the owner dies of. Where the kernel can signal the server by itself
// no guard is needed.
type guard struct {
	cmd   *exec.Cmd
	owner io.WriteCloser
}

// A line means that the server is gone already; an end without a line that the
// owner is. The second kill is for a server that was frozen.
const guardScript = `read line && exit 0
kill -"$2" "$1" 2>/dev/null
sleep 3
kill -KILL "$1" 2>/dev/null`

func newGuard(pid int, ifOwnerDies syscall.Signal) (*guard, error) {
	cmd := exec.Command("/bin/sh", "-c", guardScript, "guard", strconv.Itoa(pid), strconv.Itoa(int(ifOwnerDies)))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	owner, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &guard{cmd: cmd, owner: owner}, nil
}

// dismiss ends the guard without harm to anybody.
func (g *guard) dismiss() {
	_, _ = fmt.Fprintln(g.owner, "gone")
	_ = g.owner.Close()
	_ = g.cmd.Wait()
}

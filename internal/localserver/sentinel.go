package localserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// SentinelName is the name under which a Sentinel of this package knows its
// master.
const SentinelName = "main"

// StartSentinel starts a Redis Sentinel that watches the master at an address,
// and returns once it answers. It takes the master for down after half a
// second, and needs one other Sentinel to agree.
func StartSentinel(ctx context.Context, master string) (*Redis, error) {
	path, err := redisProgram()
	if err != nil {
		return nil, err
	}
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	folder, err := newFolder("redis", account)
	if err != nil {
		return nil, err
	}
	sentinel := &Redis{&Server{kind: sentinelKind{redisKind{path: path}}, folder: folder, account: account}}
	host, port, err := net.SplitHostPort(master)
	if err == nil {
		err = writeSentinelConfig(folder, account, host, port)
	}
	if err == nil {
		err = sentinel.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, sentinel.Close())
	}
	return sentinel, nil
}

// writeSentinelConfig writes the file that a Sentinel must have, and keeps its
// state in.
func writeSentinelConfig(f *folder, account *account, host, port string) error {
	text := fmt.Sprintf(`sentinel monitor %[1]s %[2]s %[3]s 2
sentinel down-after-milliseconds %[1]s 500
sentinel failover-timeout %[1]s 5000
`, SentinelName, host, port)
	path := sentinelConfig(f)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return account.own(path)
}

func sentinelConfig(f *folder) string { return filepath.Join(f.data(), "sentinel.conf") }

// sentinelKind is a redis-server that runs as a Sentinel.
type sentinelKind struct{ redisKind }

func (k sentinelKind) command(f *folder, port int) (string, []string) {
	return k.path, []string{
		sentinelConfig(f), "--sentinel",
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(port),
		"--dir", f.data(),
		"--daemonize", "no",
		"--set-proc-title", "no",
	}
}

func (k sentinelKind) quit() syscall.Signal { return syscall.SIGKILL }

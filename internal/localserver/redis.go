package localserver

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Redis is a redis-server of one's own, in memory only unless its Args say
// otherwise.
type Redis struct {
	*Server
}

// StartRedis starts a server and returns once it answers.
func StartRedis(ctx context.Context, opts Options) (*Redis, error) {
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
	redis := &Redis{&Server{
		kind: redisKind{path: path, args: opts.Args}, folder: folder, account: account,
	}}
	if err := redis.Start(ctx); err != nil {
		return nil, errors.Join(err, redis.Close())
	}
	return redis, nil
}

// URL returns the server's redis URL.
func (r *Redis) URL() string { return "redis://" + r.Addr() + "/0" }

type redisKind struct {
	path string
	args []string
}

func (k redisKind) command(f *folder, port int) (string, []string) {
	args := []string{
		"--bind", "127.0.0.1",
		"--port", strconv.Itoa(port),
		"--dir", f.data(),
		"--save", "",
		"--appendonly", "no",
		"--daemonize", "no",
		// The command line keeps the folder, by which a leftover is recognised.
		"--set-proc-title", "no",
	}
	return k.path, append(args, k.args...)
}

// ready asks the server for its process id, for another process's server may
// have taken the port first.
func (k redisKind) ready(ctx context.Context, _ *folder, pid int, address string) bool {
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(conn, "PING\r\nINFO server\r\n"); err != nil {
		return false
	}
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		line := lines.Text()
		switch {
		case strings.HasPrefix(line, "-NOAUTH"):
			return true // a password from Args: it answers, more we cannot know
		case strings.HasPrefix(line, "-"):
			return false // loading
		}
		if id, ok := strings.CutPrefix(line, "process_id:"); ok {
			return strings.TrimSpace(id) == strconv.Itoa(pid)
		}
	}
	return false
}

// quit is SIGKILL: with SIGTERM a Redis that saves would first write its file.
func (k redisKind) quit() syscall.Signal { return syscall.SIGKILL }

package faults

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// echo is a server that answers every line with the same line.
func echo(t *testing.T) (addr string, received *lines) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	received = new(lines)
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				for scanner := bufio.NewScanner(conn); scanner.Scan(); {
					received.add(scanner.Text())
					if _, err := conn.Write(append(scanner.Bytes(), '\n')); err != nil {
						return
					}
				}
			})
		}
	})
	// Registered before any proxy, hence run after it closed its connections.
	t.Cleanup(func() {
		listener.Close()
		running.Wait()
	})
	return listener.Addr().String(), received
}

type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all)
}

// client is one connection through a proxy.
type client struct {
	net.Conn
	reader *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) say(line string, patience time.Duration) (string, error) {
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		return "", err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	answer, err := c.reader.ReadString('\n')
	return string(bytes.TrimSpace([]byte(answer))), err
}

const (
	patient   = 10 * time.Second
	impatient = 50 * time.Millisecond
)

func wantAnswer(t *testing.T, c *client) {
	t.Helper()
	if answer, err := c.say("hello", patient); answer != "hello" || err != nil {
		t.Errorf("answer %q, %v, want hello", answer, err)
	}
}

func wantSilence(t *testing.T, c *client) {
	t.Helper()
	var timeout net.Error
	if answer, err := c.say("hello", impatient); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("answer %q, %v, want silence", answer, err)
	}
}

func wantCut(t *testing.T, c *client) {
	t.Helper()
	var timeout net.Error
	if answer, err := c.say("hello", patient); err == nil || errors.As(err, &timeout) && timeout.Timeout() {
		t.Errorf("answer %q, %v, want a closed connection", answer, err)
	}
}

func TestForwardsUnharmed(t *testing.T) {
	t.Parallel()
	target, _ := echo(t)
	p := NewProxy(t, target)
	one, two := dial(t, p), dial(t, p)
	wantAnswer(t, one)
	wantAnswer(t, two)
	if p.Accepted() != 2 {
		t.Errorf("accepted %d connections, want 2", p.Accepted())
	}
}

func TestSwallowAndResume(t *testing.T) {
	t.Parallel()
	target, received := echo(t)
	p := NewProxy(t, target)
	c := dial(t, p)
	wantAnswer(t, c)
	p.Swallow(ToClient)
	wantSilence(t, c)
	p.Resume()
	wantAnswer(t, c)
	if got := received.count(); got != 3 {
		t.Errorf("server got %d lines, want 3: only answers were to be lost", got)
	}
	p.Swallow(ToServer)
	wantSilence(t, c)
	p.Resume()
	wantAnswer(t, c)
	if got := received.count(); got != 4 {
		t.Errorf("server got %d lines, want 4: one was to be lost", got)
	}
	p.Swallow()
	wantSilence(t, dial(t, p)) // new connections too
}

func TestRefuseKeepsOpenConnections(t *testing.T) {
	t.Parallel()
	target, _ := echo(t)
	p := NewProxy(t, target)
	c := dial(t, p)
	wantAnswer(t, c)
	p.Refuse()
	if _, err := net.Dial("tcp", p.Addr()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dial: %v, want refused", err)
	}
	wantAnswer(t, c)
	if err := p.Accept(); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, dial(t, p))
}

func TestCutClosesOpenConnectionsOnly(t *testing.T) {
	t.Parallel()
	target, _ := echo(t)
	p := NewProxy(t, target)
	c := dial(t, p)
	wantAnswer(t, c)
	p.Cut()
	wantCut(t, c)
	wantAnswer(t, dial(t, p))
}

func TestHooksDecide(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		client, server Action
		want           func(*testing.T, *client)
		received       int
	}{
		"drop":                  {client: Drop, want: wantSilence, received: 0},
		"cut before":            {client: CutBefore, want: wantCut, received: 0},
		"cut after, on server":  {server: CutAfter, want: wantAnswer, received: 1},
		"cut before, on server": {server: CutBefore, want: wantCut, received: 1},
		"cut reply":             {client: CutReply, want: wantCut, received: 1},
		"drop replies":          {client: DropReplies, want: wantSilence, received: 1},
		"drop, on server":       {server: Drop, want: wantSilence, received: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target, received := echo(t)
			p := NewProxy(t, target)
			p.OnClientBytes(func(int, []byte) Action { return tc.client })
			p.OnServerBytes(func(int, []byte) Action { return tc.server })
			tc.want(t, dial(t, p))
			if got := received.count(); got != tc.received {
				t.Errorf("server got %d lines, want %d", got, tc.received)
			}
			p.OnClientBytes(nil)
			p.OnServerBytes(nil)
			wantAnswer(t, dial(t, p))
		})
	}
}

func TestTargetDownClosesTheClient(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	wantCut(t, dial(t, NewProxy(t, listener.Addr().String())))
}

func TestCloseEndsEverything(t *testing.T) {
	t.Parallel()
	target, _ := echo(t)
	p := NewProxy(t, target)
	c := dial(t, p)
	wantAnswer(t, c)
	p.Swallow()
	p.Close()
	wantCut(t, c)
	p.Close()
	if err := p.Accept(); err == nil {
		t.Error("a closed proxy accepts")
	}
}

// Who connects is led to the new target, who is connected stays where he is.
func TestLead(t *testing.T) {
	t.Parallel()
	one, here := echo(t)
	two, there := echo(t)
	p := NewProxy(t, one)
	c := dial(t, p)
	wantAnswer(t, c)
	p.Lead(two)
	wantAnswer(t, c)
	wantAnswer(t, dial(t, p))
	if here.count() != 2 || there.count() != 1 {
		t.Errorf("%d lines and %d, want 2 and 1", here.count(), there.count())
	}
}

package faults

import (
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"

	"github.com/asidego/aside/internal/loopback"
)

// TB is the part of testing.TB that NewProxy needs.
type TB interface {
	Helper()
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Direction is a way through the proxy.
type Direction int

const (
	ToServer Direction = iota
	ToClient
)

// Proxy accepts connections and hands each on to its target until told
// otherwise. All methods may be called at any time from any goroutine.
type Proxy struct {
	target atomic.Pointer[string]
	addr   string
	split  func() splitter // how a connection's client bytes are cut into what hooks see

	onClient, onServer atomic.Pointer[Hook]
	swallow            [2]atomic.Bool // by Direction
	accepted           atomic.Int64

	mu       sync.Mutex
	listener net.Listener // nil while refusing
	conns    map[*conn]struct{}
	closed   bool

	running sync.WaitGroup // accept loops and connections
}

// Listen starts a proxy in front of target, a "host:port". Hooks see bytes as
// they were read; how a message is spread over reads is up to the kernel.
func Listen(target string) (*Proxy, error) {
	return listen(target, func() splitter { return wholeReads })
}

// ListenPostgres is Listen for a PostgreSQL server: hooks on the client's bytes
// see exactly one protocol message at a time. Connections must not use TLS
// (sslmode=disable).
func ListenPostgres(target string) (*Proxy, error) {
	return listen(target, func() splitter { return new(postgresMessages).split })
}

// NewProxy is Listen for a test, which closes the proxy at its end.
func NewProxy(t TB, target string) *Proxy {
	t.Helper()
	return forTest(t, target, Listen)
}

// NewPostgresProxy is ListenPostgres for a test, which closes the proxy at its end.
func NewPostgresProxy(t TB, target string) *Proxy {
	t.Helper()
	return forTest(t, target, ListenPostgres)
}

func forTest(t TB, target string, start func(string) (*Proxy, error)) *Proxy {
	t.Helper()
	p, err := start(target)
	if err != nil {
		t.Fatalf("proxy to %s: %v", target, err)
	}
	t.Cleanup(p.Close)
	return p
}

func listen(target string, split func() splitter) (*Proxy, error) {
	listener, err := loopback.Listen()
	if err != nil {
		return nil, fmt.Errorf("faults: %w", err)
	}
	p := &Proxy{
		addr:  listener.Addr().String(),
		split: split,
		conns: make(map[*conn]struct{}),
	}
	p.Lead(target)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accept(listener)
	return p, nil
}

// Addr returns the "host:port" that clients connect to. It does not change.
func (p *Proxy) Addr() string { return p.addr }

// Accepted returns how many connections were accepted so far.
func (p *Proxy) Accepted() int { return int(p.accepted.Load()) }

// Lead hands new connections on to another target; open ones live on, until they are Cut.
func (p *Proxy) Lead(target string) { p.target.Store(&target) }

// OnClientBytes has hook decide about what clients send, from now on and also
// on connections that are open. nil means Forward.
func (p *Proxy) OnClientBytes(hook Hook) { store(&p.onClient, hook) }

// OnServerBytes has hook decide about what the server sends.
func (p *Proxy) OnServerBytes(hook Hook) { store(&p.onServer, hook) }

func store(at *atomic.Pointer[Hook], hook Hook) {
	if hook == nil {
		at.Store(nil)
		return
	}
	at.Store(&hook)
}

// Swallow loses everything that goes in the given directions, both if none is
// given, on open and new connections: a network that fell silent. Hooks are
// not asked about what is lost.
func (p *Proxy) Swallow(directions ...Direction) {
	if len(directions) == 0 {
		directions = []Direction{ToServer, ToClient}
	}
	for _, direction := range directions {
		p.swallow[direction].Store(true)
	}
}

// Resume undoes Swallow for what is sent from now on. What was lost is lost,
// so connections that were in use had better be Cut.
func (p *Proxy) Resume() {
	p.swallow[ToServer].Store(false)
	p.swallow[ToClient].Store(false)
}

// Refuse closes the listener: new connections are refused, open ones live on.
func (p *Proxy) Refuse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
}

// Accept undoes Refuse, on the same port.
func (p *Proxy) Accept() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return errors.New("faults: proxy is closed")
	case p.listener != nil:
		return nil
	}
	listener, err := net.Listen("tcp4", p.addr)
	if err != nil {
		return fmt.Errorf("faults: %w", err)
	}
	p.accept(listener)
	return nil
}

// Cut closes all connections that are open now, on both sides.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.close()
	}
}

// Close ends the proxy and returns when all its goroutines have ended. It may
// be called again.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Refuse()
	p.Cut()
	p.running.Wait()
}

// accept runs the loop of a listener. The caller holds mu.
func (p *Proxy) accept(listener net.Listener) {
	p.listener = listener
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		for {
			client, err := listener.Accept()
			if err != nil {
				return // closed by Refuse or Close
			}
			p.add(client)
		}
	}()
}

// add starts serving a connection, unless the proxy was closed meanwhile.
func (p *Proxy) add(client net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = client.Close()
		return
	}
	c := newConn(p, client, int(p.accepted.Add(1)))
	p.conns[c] = struct{}{}
	p.running.Add(1)
	go func() {
		defer p.running.Done()
		c.serve()
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.conns, c)
	}()
}

package faults

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const dialTimeout = 5 * time.Second

// conn is one client's connection and the one to the server that belongs to it.
type conn struct {
	proxy  *Proxy
	number int
	client net.Conn
	ctx    context.Context // ends with the connection, dialling included
	cancel context.CancelFunc

	// What to do with the server's bytes, set by the client's direction
	// *before* it passes on the bytes that the server will answer to.
	cutReply    atomic.Bool
	dropReplies atomic.Bool
}

func newConn(p *Proxy, client net.Conn, number int) *conn {
	ctx, cancel := context.WithCancel(context.Background())
	return &conn{proxy: p, number: number, client: client, ctx: ctx, cancel: cancel}
}

// close ends the connection; serve then returns soon.
func (c *conn) close() {
	c.cancel()
	_ = c.client.Close()
}

// serve dials the target and copies in both directions until either side or
// an action ends the connection. A client whose target does not answer sees
// its connection closed.
func (c *conn) serve() {
	defer c.close()
	dialer := net.Dialer{Timeout: dialTimeout}
	server, err := dialer.DialContext(c.ctx, "tcp", *c.proxy.target.Load())
	if err != nil {
		return
	}
	defer server.Close()
	stop := context.AfterFunc(c.ctx, func() { _ = server.Close() })
	defer stop()

	var both sync.WaitGroup
	both.Go(func() {
		defer c.close()
		pump(c.client, server, c.proxy.split(), c.fromClient)
	})
	both.Go(func() {
		defer c.close()
		pump(server, c.client, wholeReads, c.fromServer)
	})
	both.Wait()
}

// pump reads, has decide judge each piece, and writes until something ends.
func pump(from, to net.Conn, split splitter, decide func([]byte) Action) {
	buffer := make([]byte, 0, 32<<10)
	for {
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, 0)[:len(buffer)] // a message longer than the buffer
		}
		n, err := from.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		done := 0
		for {
			size := split(buffer[done:])
			if size == 0 {
				break
			}
			piece := buffer[done : done+size]
			done += size
			action := decide(piece)
			if action == CutBefore {
				return
			}
			if action != Drop {
				if _, err := to.Write(piece); err != nil {
					return
				}
			}
			if action == CutAfter {
				return
			}
		}
		buffer = buffer[:copy(buffer, buffer[done:])]
		if err != nil {
			return
		}
	}
}

func (c *conn) fromClient(b []byte) Action {
	if c.proxy.swallow[ToServer].Load() {
		return Drop
	}
	action := ask(&c.proxy.onClient, c.number, b)
	switch action {
	case CutReply:
		c.cutReply.Store(true)
		return Forward
	case DropReplies:
		c.dropReplies.Store(true)
		return Forward
	default:
		return action
	}
}

func (c *conn) fromServer(b []byte) Action {
	switch {
	case c.cutReply.Load():
		return CutBefore
	case c.dropReplies.Load(), c.proxy.swallow[ToClient].Load():
		return Drop
	}
	action := ask(&c.proxy.onServer, c.number, b)
	switch action {
	case CutReply:
		return CutBefore
	case DropReplies:
		c.dropReplies.Store(true)
		return Drop
	default:
		return action
	}
}

func ask(at *atomic.Pointer[Hook], number int, b []byte) Action {
	if hook := at.Load(); hook != nil {
		return (*hook)(number, b)
	}
	return Forward
}

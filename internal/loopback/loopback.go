// Package loopback hands out TCP ports on 127.0.0.1 that stay free when their
// owner is down for a while.
package loopback

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports below every system's ephemeral range (Linux starts at 32768, macOS at
// 49152). The kernel would sooner or later give a port from that range to some
// outgoing connection, and a server that was killed could not come back on it.
const (
	lowest  = 15000
	highest = 32000
	tries   = 200
)

// Listen listens on a random free port that no outgoing connection takes.
func Listen() (net.Listener, error) {
	var err error
	for range tries {
		var listener net.Listener
		address := fmt.Sprintf("127.0.0.1:%d", lowest+rand.IntN(highest-lowest))
		if listener, err = net.Listen("tcp4", address); err == nil {
			return listener, nil
		}
	}
	return nil, fmt.Errorf("loopback: no free port in %d tries: %w", tries, err)
}

// FreePort returns a port that was free a moment ago. Another process may take
// it first, so whoever binds it must be ready to ask for another one.
func FreePort() (int, error) {
	listener, err := Listen()
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

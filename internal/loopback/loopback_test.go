package loopback

import (
	"net"
	"testing"
)

func TestListenStaysBelowEphemeralPorts(t *testing.T) {
	t.Parallel()
	for range 20 {
		listener, err := Listen()
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if port := listener.Addr().(*net.TCPAddr).Port; port < lowest || port >= highest {
			t.Errorf("port %d is outside [%d, %d)", port, lowest, highest)
		}
	}
}

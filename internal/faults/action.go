package faults

// Action is what a Hook wants done with the bytes that it was shown.
type Action int

const (
	// Forward passes the bytes on.
	Forward Action = iota
	// Drop loses the bytes; the connection stays.
	Drop
	// CutBefore closes the connection on both sides; the bytes are lost.
	CutBefore
	// CutAfter passes the bytes on and closes the connection on both sides.
	// The receiver gets the bytes first. Whether it also acted on them is not
	// known; CutReply is for that.
	CutAfter
	// CutReply passes the client's bytes on and closes the connection when the
	// server's next bytes arrive, which are lost: the server has acted. From a
	// hook on the server's bytes it is CutBefore.
	CutReply
	// DropReplies passes the client's bytes on and loses whatever the server
	// says on this connection from then on. From a hook on the server's bytes
	// the bytes shown are lost too.
	DropReplies
)

// Hook sees bytes before they are passed on and decides what becomes of them.
// conn counts the proxy's connections from 1. A hook may be called from several
// goroutines at once, must not keep b, and may block: that delays b.
type Hook func(conn int, b []byte) Action

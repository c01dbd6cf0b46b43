package faults

import "sync/atomic"

// Fault is something that will happen once.
type Fault struct {
	armed atomic.Bool
	fired chan struct{}
}

// Fired is closed when the fault happens, before its effect can be seen.
func (f *Fault) Fired() <-chan struct{} { return f.fired }

// OnCommit does action when the next COMMIT passes, once; later ones pass
// unharmed. It replaces the hook on the clients' bytes. The proxy must be one
// of PostgreSQL's (ListenPostgres, NewPostgresProxy).
func (p *Proxy) OnCommit(action Action) *Fault {
	fault := &Fault{fired: make(chan struct{})}
	fault.armed.Store(true)
	p.OnClientBytes(func(_ int, message []byte) Action {
		if IsQuery(message, "COMMIT") && fault.armed.CompareAndSwap(true, false) {
			close(fault.fired)
			return action
		}
		return Forward
	})
	return fault
}

// CutBeforeCommit cuts the connection of the next COMMIT before the server gets
// it: rolled back, and the client cannot know.
func (p *Proxy) CutBeforeCommit() *Fault { return p.OnCommit(CutBefore) }

// CutAfterCommit has the server execute the next COMMIT and cuts the connection
// before its answer reaches the client: committed, and the client cannot know.
func (p *Proxy) CutAfterCommit() *Fault { return p.OnCommit(CutReply) }

// SwallowCommitReply has the server execute the next COMMIT and loses the
// answer without closing anything: committed, and the client waits for ever,
// or as long as its deadline lets it.
func (p *Proxy) SwallowCommitReply() *Fault { return p.OnCommit(DropReplies) }

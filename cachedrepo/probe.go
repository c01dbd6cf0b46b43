package cachedrepo

import (
	"context"
	"strconv"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// mend starts the prober of a server. n.mu is held.
func (n *nodes) mend(at *node) {
	if at.mending || n.closed {
		return
	}
	at.mending = true
	n.start(func() { n.probe(at) })
}

// probe runs while a server is not trusted, or has to be told what is pending: it sends that and then an invalidation of
// a key that nobody uses, for a server that answers reads alone does not pass.
func (n *nodes) probe(at *node) {
	pause, restored := firstProbe, false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-n.ctx.Done():
			n.mu.Lock()
			at.mending = false
			n.mu.Unlock()
			return
		}
		kept, failed := at.kept.Load(), at.failed.Load()
		err := n.flush(n.ctx, at)
		if err == nil && n.restore(at, kept, failed) {
			return
		}
		if err == nil && !at.distrust.Load() { // writers ask it again, so that soon there is nothing left to send
			restored, pause = true, firstProbe
			timer.Reset(0)
			continue
		}
		if err != nil && restored { // too early: it may answer reads and refuse writes again
			restored = false
			n.mu.Lock()
			n.suspect(at)
			n.mu.Unlock()
		}
		timer.Reset(pause)
		pause = min(2*pause, lastProbe)
	}
}

// flush sends a server what is pending for it, chunk by chunk, and an invalidation of a key that nobody uses.
func (n *nodes) flush(ctx context.Context, at *node) error {
	for {
		ops := n.take(at)
		if len(ops) == 0 {
			break
		}
		for len(ops) > 0 {
			part := ops[:min(chunk, len(ops))]
			ops = ops[len(part):]
			err := n.replay(ctx, part)
			if n.sent(part, err); err != nil {
				n.sent(ops, err)
				return err
			}
		}
	}
	key, found := n.unusedKey(at)
	if !found {
		return nil // it has no keys any more
	}
	return n.replay(ctx, invalidations([]string{key}))
}

// replay does not keep the score: failures of a server that is away are no news.
func (n *nodes) replay(ctx context.Context, ops []store.Op) error {
	call, cancel := context.WithTimeout(ctx, n.rt.cfg.WriteTimeout)
	defer cancel()
	return n.rt.call(call, ops, make([]store.Reply, len(ops)))
}

// restore trusts a server again, unless a call has failed since failed was read. It tells whether the prober is done: if
// nothing has become pending since kept was read, for there is always somebody who sends what is pending.
//
// What writers kept because the server was not trusted is no reason to go on distrusting it: where they come faster than
// the prober turns it would never be trusted again. Reads of what is pending do not ask it in any case.
func (n *nodes) restore(at *node, kept, failed int64) (done bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if at.failed.Load() != failed {
		return false
	}
	n.forgive(at)
	at.distrust.Store(false)
	if at.kept.Load() != kept {
		n.judge()
		return false
	}
	at.mending = false
	if at.key == "" && n.byName[at.name] == at {
		delete(n.byName, at.name) // it has no keys
	}
	n.judge()
	if !n.unsure.Load() {
		clear(n.logged)
	}
	return true
}

// flushAll sends what is pending to all servers at once, and returns how much still is.
func (n *nodes) flushAll(ctx context.Context) int {
	n.mu.Lock()
	all := make([]string, 0, len(n.pending))
	for k := range n.pending {
		all = append(all, k)
	}
	n.mu.Unlock()
	if len(all) > 0 {
		together(split(n, all, itself), func(g group[string]) { _ = n.flush(ctx, g.at) })
	}
	return n.waiting()
}

// unusedKeys is how many keys are tried for one that a server has: with fewer slots than one in a thousand it may have
// none of them, and is not probed then.
const unusedKeys = 16384

func (rt *runtime) probeKey(i int) string { return rt.cfg.Namespace + ":~probe:" + strconv.Itoa(i) }

// unusedKey returns a key on a server that no table has: tables' names are escaped.
func (n *nodes) unusedKey(at *node) (key string, found bool) {
	n.mu.Lock()
	key = at.key
	n.mu.Unlock()
	if at == n.only || key != "" && n.name(key) == at.name {
		return key, true
	}
	key = ""
	for i := range unusedKeys {
		if k := n.rt.probeKey(i); n.name(k) == at.name {
			key = k
			break
		}
	}
	n.mu.Lock()
	at.key = key
	n.mu.Unlock()
	return key, key != ""
}

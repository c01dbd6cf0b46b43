package cachedrepo

import (
	"sync"
	"time"
)

// The watch. A server that cannot be written to (its disk is full, its replicas are missing, it was demoted) goes on
// answering GET. Whoever writes finds out at once; a process that only reads would serve for the whole outage what others
// have changed and could not invalidate. So every server that this process reads from is asked to take a write once in
// Config.Probe, unless it has taken one since the last time, and is not trusted if it does not.

// watch starts the watch. n.mu is held.
func (n *nodes) watch() {
	if n.watched || n.closed || n.rt.cfg.Probe <= 0 {
		return
	}
	n.watched = true
	n.judge()
	n.start(func() {
		next := 0
		for {
			select {
			case <-n.after(n.rt.cfg.Probe):
			case <-n.ctx.Done():
				return
			}
			if n.only == nil {
				next = n.discover(next)
			}
			n.learn()
			n.ask()
		}
	})
}

// ask has all servers take a write, at once: one that hangs must not keep the others from being asked.
func (n *nodes) ask() {
	var wait sync.WaitGroup
	n.mu.Lock()
	for _, at := range n.byName {
		if at.wrote.Swap(false) || at.distrust.Load() {
			continue
		}
		wait.Go(func() {
			if key, found := n.unusedKey(at); found {
				_, _ = n.send(n.ctx, at, "probe", invalidations([]string{key}))
				at.wrote.Store(false)
				return
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			if !at.mending && !at.distrust.Load() && n.byName[at.name] == at {
				delete(n.byName, at.name)
			}
		})
	}
	n.mu.Unlock()
	wait.Wait()
}

// discover looks for servers that have not been heard of: single reads do not tell which server they ask. It tries some
// keys from i on, and returns where to go on.
func (n *nodes) discover(i int) int {
	const some = 512
	for range some {
		key := n.rt.probeKey(i)
		at := n.of(key)
		n.mu.Lock()
		if at.key == "" {
			at.key = key
		}
		n.mu.Unlock()
		i = (i + 1) % unusedKeys
	}
	return i
}

const defaultProbe = time.Second

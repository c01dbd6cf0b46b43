package memstore

import (
	"bytes"
	"container/list"
	"sync"
	"time"

	"github.com/asidego/aside/cachedrepo/store"
)

// shard is a part of the keys with a mutex and a share of the memory of its own.
type shard struct {
	max int64

	mu    sync.Mutex // guards all below
	bytes int64
	items map[string]*list.Element // of *item
	order list.List                // what was used last is in front
}

type item struct {
	key   string
	entry store.Entry
}

// overhead is roughly what a key costs beside its bytes: item, list element, map slot.
const overhead = 256

func (i *item) cost() int64 {
	return int64(len(i.key)+len(i.entry.Value)+24*len(i.entry.Writers)) + overhead
}

func newShard(max int64) *shard {
	return &shard{max: max, items: make(map[string]*list.Element)}
}

func (s *shard) do(op *store.Op, clock func() time.Time, later time.Duration) store.Reply {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := clock().Add(later) // read with the mutex held, in the order in which operations run

	var before store.Entry
	at := s.items[op.Key]
	if at != nil {
		before = at.Value.(*item).entry
	}
	after, reply := store.Step(before, *op, now)
	switch {
	case after.State == store.Absent:
		if at != nil {
			s.remove(at)
		}
		return reply
	case op.Kind == store.Get: // a hit changes nothing but the order
		s.order.MoveToFront(at)
		return reply
	case after.State == store.Value && before.State != store.Value:
		after.Value = bytes.Clone(op.Value) // the caller may use its buffer again
	}
	s.put(op.Key, at, after)
	s.sweep(now.UnixMilli())
	s.evict(now.UnixMilli())
	return reply
}

func (s *shard) put(key string, at *list.Element, e store.Entry) {
	if at == nil {
		at = s.order.PushFront(&item{key: key})
		s.items[key] = at
	} else {
		s.bytes -= at.Value.(*item).cost()
		s.order.MoveToFront(at)
	}
	i := at.Value.(*item)
	i.entry = e
	s.bytes += i.cost()
	if i.cost() > s.max && len(e.Writers) == 0 {
		s.remove(at) // rather than everything else, and then this
	}
}

func (s *shard) remove(at *list.Element) {
	i := at.Value.(*item)
	s.bytes -= i.cost()
	delete(s.items, i.key)
	s.order.Remove(at)
}

// sweep looks at a few keys in the map's random order and drops the dead ones, as Redis does: with several looks a write,
// dead keys stay a small part of all, and nobody needs a goroutine.
func (s *shard) sweep(ms int64) {
	looks := 4
	for _, at := range s.items {
		if at.Value.(*item).entry.Expires <= ms {
			s.remove(at)
		}
		if looks--; looks == 0 {
			return
		}
	}
}

// evict drops what was not used for longest until the shard is within its bound. Live tokens stay: without them a reader
// would fill what their writer is about to change, and nothing would repair it if the writer then died. They go to the
// front, so that the next round does not meet them again, and few of them a round, so that a write takes its time only.
func (s *shard) evict(ms int64) {
	for spared := 0; s.bytes > s.max && spared < 64 && s.order.Len() > spared; {
		at := s.order.Back()
		if held(&at.Value.(*item).entry, ms) {
			s.order.MoveToFront(at)
			spared++
			continue
		}
		s.remove(at)
	}
}

func held(e *store.Entry, ms int64) bool {
	for _, w := range e.Writers {
		if w.Deadline > ms {
			return true
		}
	}
	return false
}

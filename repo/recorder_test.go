package repo_test

import (
	"context"
	"slices"
	"sync"

	"github.com/asidego/aside/txhooks"
)

// recorder subscribes to a database and keeps what was committed.
type recorder struct {
	mu      sync.Mutex
	changes []txhooks.Change
}

func record(db *txhooks.DB) *recorder {
	r := &recorder{}
	db.Subscribe(r)
	return r
}

// Ended implements txhooks.Subscriber.
func (r *recorder) Ended(_ context.Context, o txhooks.Outcome, changes txhooks.Changes) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o == txhooks.Committed {
		r.changes = slices.AppendSeq(r.changes, changes.All())
	}
	return 0
}

// take returns what came since the last call.
func (r *recorder) take() []txhooks.Change {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.changes
	r.changes = nil
	return taken
}

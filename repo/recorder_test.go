package repo_test

import (
	"context"
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
func (r *recorder) Ended(_ context.Context, o txhooks.Outcome, changes []txhooks.Change) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if o == txhooks.Committed {
		r.changes = append(r.changes, changes...)
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

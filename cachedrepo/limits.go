package cachedrepo

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/asidego/aside/txhooks"
)

// limits is the statement that a strict write sends before its intents. It does what must have been done in the database
// when the intents are placed, in one round trip:
//
//   - Deferred triggers and constraints run now. What they change is then known like any other change of theirs (capture
//     sees it, Touch reads it), what they refuse is refused before anybody else is told, and COMMIT has nothing left to do
//     but to commit.
//   - From the end of the last statement on, which is before the first intent, the server lets the session be silent for no
//     longer than most, and then rolls back. So a COMMIT that arrives after the intents' deadline, from a process that was
//     stopped or over a network that was, finds no transaction. A shorter limit stays: nothing is made longer.
//
// The effective limit is read back in the server, for there are servers that speak PostgreSQL's protocol, take a setting and
// do not keep it.
//
// There is no need for statement_timeout: the intents are placed when all statements are done, and it does not apply to COMMIT
// (nor does transaction_timeout, from the moment when the commit record is written).
func limits(most time.Duration) string {
	return fmt.Sprintf(`DO $aside$
DECLARE idle interval;
BEGIN
	SET CONSTRAINTS ALL IMMEDIATE;
	idle := current_setting('idle_in_transaction_session_timeout');
	IF idle <= interval '0' OR idle > interval '%[1]d ms' THEN
		idle := set_config('idle_in_transaction_session_timeout', '%[1]dms', true);
		IF idle <= interval '0' OR idle > interval '%[1]d ms' THEN
			RAISE 'aside: idle_in_transaction_session_timeout cannot be set to %[1]d ms';
		END IF;
	END IF;
END $aside$`, most.Milliseconds())
}

func (s *strict) limit(ctx context.Context, id txhooks.ID) error {
	if _, err := s.rt.db.ExecContext(ctx, s.limits); err != nil {
		return err
	}
	s.prepared.add(id)
	return nil
}

// recent remembers the last transactions that have sent the statement. Nobody says when one of them is over that rolled back
// without a change, so it forgets by itself; one that is forgotten too early sends the statement twice.
type recent struct {
	mu   sync.Mutex
	ids  [256]txhooks.ID
	next int
}

func (r *recent) add(id txhooks.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ids[r.next] = id
	r.next = (r.next + 1) % len(r.ids)
}

func (r *recent) has(id txhooks.ID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.ids[:], id)
}

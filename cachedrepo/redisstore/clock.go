package redisstore

import (
	"fmt"
	"time"
)

// Deadlines of tokens are moments of a server's wall clock. One that steps, or a promoted replica whose clock is another,
// ends them earlier or later than they were meant to.

// noteClock keeps how far a server's clock is ahead: the least that it can be, for the answer may have been underway.
func (at *server) noteClock(now, before, after time.Time) {
	ahead := time.Duration(0)
	switch {
	case now.Before(before):
		ahead = now.Sub(before)
	case now.After(after):
		ahead = now.Sub(after)
	}
	at.ahead.Store(ahead.Milliseconds())
}

// Skew is how far the clocks of the servers that commands go to, and this machine's, are apart at least, as measured last: by
// Check, and by Learn once a second. Strict mode's margin must be longer.
func (s *Store) Skew() time.Duration {
	var least, most int64 // this machine's is 0
	s.each(func(at *server) {
		ahead := at.ahead.Load()
		least, most = min(least, ahead), max(most, ahead)
	})
	return time.Duration(most-least) * time.Millisecond
}

// clocks reports clocks that are too far apart, once for each time that they come to be. s.mu is held.
func (s *Store) clocks() error {
	skew := s.Skew()
	apart := skew > maxSkew
	told := s.skewTold
	if s.skewTold = apart; !apart || told {
		return nil
	}
	return fmt.Errorf("redisstore: the clocks of the servers and of this machine are %s apart: deadlines of writers' tokens may end that much earlier; let all follow NTP", skew.Round(time.Second/10))
}

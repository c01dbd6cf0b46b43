package storetest

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/asidego/aside/cachedrepo/store"
)

// random runs random batches on a few keys and compares every reply, and every key afterwards, with Step.
func random(t *testing.T, h Harness) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(h)
		names := []string{h.key(), h.key(), h.key()}
		// Real time cannot be compared with a model's: lives are long then.
		lives := []time.Duration{time.Minute, time.Hour}
		if h.Now != nil {
			lives = []time.Duration{0, 1, 3 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, time.Minute}
		}
		op := rapid.Custom(func(t *rapid.T) store.Op {
			key := rapid.IntRange(0, 2).Draw(t, "key")
			of := kinds
			if key == 2 && rapid.IntRange(0, 9).Draw(t, "stray") > 0 { // mostly a generation
				of = []store.OpKind{store.Get, store.Stamps, store.Bump, store.Enter, store.Leave}
			} else if key < 2 && rapid.IntRange(0, 9).Draw(t, "stray") > 0 {
				of = kinds[:8]
			}
			return store.Op{
				Kind:  rapid.SampledFrom(of).Draw(t, "kind"),
				Key:   names[key],
				Token: tok(byte(rapid.IntRange(1, 4).Draw(t, "token"))),
				Value: []byte(rapid.SampledFrom([]string{"", "a", "bb"}).Draw(t, "value")),
				TTL:   rapid.SampledFrom(lives).Draw(t, "ttl"),
			}
		})
		for range rapid.IntRange(1, 25).Draw(t, "batches") {
			if h.Now != nil {
				h.Advance(time.Duration(rapid.IntRange(1, 12).Draw(t, "ms")) * time.Millisecond)
			}
			batch := rapid.SliceOfN(op, 1, 6).Draw(t, "batch")
			m.do(t, batch...)
		}
	})
}

package outbox_test

import (
	"context"
	"testing"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/outbox"
)

// What cascades and deferred triggers change in a strict table has its intents before COMMIT, though nobody but the triggers
// knew of it; and they are released after it.
func TestCaptureOfAStrictTable(t *testing.T) {
	t.Parallel()
	mail := model.NewUnique[guest, string]("email")
	table := model.MustTable(model.Spec[guest, int64]{Name: "guests", Key: "id", Strict: true, Indexes: model.Indexes[guest]{mail}})
	pg, server := capturedHotel(t), testenv.Redis(t)
	db := txhooks.New(pg.Open(t), txhooks.Config{Logger: quiet()})
	cache, err := cachedrepo.New(db, redisstore.New(server.Client(t)), cachedrepo.Config{Namespace: server.Prefix(), Tables: model.Tables{table}, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	box, err := outbox.Start(db, cache, outbox.Config{Poll: time.Hour, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = box.Close(ctx)
		_ = cache.Close(ctx)
	})
	var limit string // that the server keeps, while the intents stand
	t.Cleanup(db.Subscribe(staged(func(ctx context.Context) error {
		return db.GetContext(ctx, &limit, "SELECT current_setting('idle_in_transaction_session_timeout')")
	})))
	cached := cachedrepo.Wrap(cache, repo.New(db, table))
	name := func(id int64) string {
		g, err := cached.Find(context.Background(), id)
		if err != nil {
			return ""
		}
		return g.Name
	}
	for _, c := range captures {
		name(c.id)
		before := cache.Stats()
		limit = ""
		if _, err := db.ExecContext(t.Context(), c.statement); err != nil {
			t.Fatal(c.what, err)
		}
		after := cache.Stats()
		if got := name(c.id); got != c.want {
			t.Errorf("%s: guest %d is %q, want %q", c.what, c.id, got, c.want)
		}
		if limit != "28s" {
			t.Errorf("%s: the server's limit is %q", c.what, limit)
		}
		if placed := after.Intended - before.Intended; placed < 2 || after.Released-before.Released != placed {
			t.Errorf("%s: %d intents, %d released", c.what, placed, after.Released-before.Released)
		}
	}
}

// staged is called when all changes are known.
type staged func(ctx context.Context) error

func (staged) Ended(context.Context, txhooks.Outcome, txhooks.Changes) int { return 0 }
func (s staged) Stage(ctx context.Context, _ txhooks.Changes) error        { return s(ctx) }

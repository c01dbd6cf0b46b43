package txhooks

import (
	"context"
	"testing"

	"github.com/asidego/aside/model"
)

// Between Touch's look at the rows and the statement, others commit rows that the statement then changes too. The images of
// those that are no longer where Touch named them were never read; but what a unique ref names is invalidated whatever was
// found there.
func TestTouchRowThatComesLate(t *testing.T) {
	everyDriver(t, func(t *testing.T, db *DB) {
		for _, ref := range []model.Ref{users.Row(1), byEmail.Eq("a@x")} {
			got := touching(t, db, func(ctx context.Context) error {
				if err := Touch(ctx, ref); err != nil {
					return err
				}
				exec(t, db, ctx, `SELECT 1`) // the rows are read now: there are none
				exec(t, db, context.WithoutCancel(t.Context()), `INSERT INTO users VALUES (1, 'a@x', 7)`)
				exec(t, db, ctx, `DELETE FROM users WHERE id = 1 AND email = 'a@x'`)
				return nil
			})
			t.Logf("%v: %q", ref, got)
			if got == "" {
				t.Errorf("%v: nothing was reported", ref)
			}
		}
	})
}

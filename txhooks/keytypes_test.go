package txhooks

import (
	"context"
	"database/sql"
	"testing"

	"github.com/google/uuid"

	"github.com/asidego/aside/model"
)

type mood string

type pet struct {
	ID    uuid.UUID      `db:"id"`
	Small int16          `db:"small"`
	Mood  mood           `db:"mood"`
	Tame  bool           `db:"tame"`
	Chip  []byte         `db:"chip"`
	Call  sql.NullString `db:"call"`
}

// Places of every kind of column that can be a key are found on both drivers: a parameter's type is the server's to guess.
func TestTouchKeyTypes(t *testing.T) {
	bySmall, byMood := model.NewIndex[pet, int16]("small"), model.NewIndex[pet, mood]("mood")
	byTame, byChip := model.NewIndex[pet, bool]("tame"), model.NewIndex[pet, []byte]("chip")
	byCall := model.NewUnique[pet, string]("call")
	pets := model.MustTable(model.Spec[pet, uuid.UUID]{
		Name: "pet", Key: "id", Indexes: model.Indexes[pet]{bySmall, byMood, byTame, byChip, byCall},
	})
	everyDriver(t, func(t *testing.T, db *DB) {
		id := uuid.New()
		exec(t, db, t.Context(), `CREATE TYPE mood AS ENUM ('sad', 'glad')`)
		exec(t, db, t.Context(), `CREATE TABLE pet (id uuid PRIMARY KEY, small smallint, mood mood, tame boolean, chip bytea, call varchar(9) UNIQUE)`)
		exec(t, db, t.Context(), `INSERT INTO pet VALUES ($1, 3, 'glad', true, '\xff00', 'rex')`, id)
		want := id.String() + ",3,glad,true,ff00,rex>"
		for name, ref := range map[string]model.Ref{
			"uuid": pets.Row(id), "smallint": bySmall.Eq(3), "enum": byMood.Eq("glad"), "boolean": byTame.Eq(true),
			"bytea": byChip.Eq([]byte{0xff, 0}), "varchar": byCall.Eq("rex"),
		} {
			r := &recorder{}
			cancel := db.Subscribe(r)
			err := db.Run(t.Context(), func(ctx context.Context) error {
				if err := Touch(ctx, ref); err != nil {
					return err
				}
				exec(t, db, ctx, "DELETE FROM pet")
				exec(t, db, ctx, `INSERT INTO pet VALUES ($1, 3, 'glad', true, '\xff00', NULL)`, id)
				exec(t, db, ctx, `UPDATE pet SET call = 'rex'`)
				exec(t, db, ctx, "DELETE FROM pet WHERE tame")
				return nil
			})
			cancel()
			if got := r.take(); err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("%s: %v, %v\nwant %s", name, got, err, want)
			}
			exec(t, db, t.Context(), `INSERT INTO pet VALUES ($1, 3, 'glad', true, '\xff00', 'rex')`, id)
		}
	})
}

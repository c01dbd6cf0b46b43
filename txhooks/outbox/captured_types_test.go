package outbox

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	guuid "github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
	"github.com/asidego/aside/model"
)

type mood string

// every has a column of every type that can be a key, see docs/types.md, those with Canonical included.
type every struct {
	ID      int64          `db:"id"`
	Small   int16          `db:"small"`
	Int     *int32         `db:"plain"`
	Unsig   uint32         `db:"unsig"`
	Flag    bool           `db:"flag"`
	Text    string         `db:"body"`
	Short   *string        `db:"short"`
	Null    sql.NullString `db:"maybe"`
	UUID    guuid.UUID     `db:"uid"`
	UIDText string         `db:"uidtext"`
	Bytes   []byte         `db:"raw"`
	Mood    mood           `db:"mood"`
	Filled  string         `db:"filled"`
	Char    string         `db:"chars"`
	Fold    string         `db:"fold"`
	Number  string         `db:"number"`
	Address string         `db:"address"`
	Day     string         `db:"day"`
}

const everySchema = `CREATE EXTENSION IF NOT EXISTS citext;
CREATE TYPE mood AS ENUM ('sad', 'glad', 'Quite, "so"');
CREATE DOMAIN filled AS char(3);
CREATE TABLE every (id bigint PRIMARY KEY, small smallint, plain integer, unsig bigint, flag boolean, body text, short varchar(20), maybe text,
	uid uuid, uidtext uuid, raw bytea, mood mood, filled filled, chars char(7), fold citext, number numeric(12, 4), address inet, day date);`

func everyTable() *model.Relation {
	trim := func(s string) string { return strings.TrimRight(s, " ") }
	return model.MustTable(model.Spec[every, int64]{
		Name: "every", Key: "id",
		Indexes: model.Indexes[every]{
			model.NewIndex[every, int16]("small"), model.NewIndex[every, int32]("plain"), model.NewIndex[every, uint32]("unsig"),
			model.NewIndex[every, bool]("flag"), model.NewIndex[every, string]("body"), model.NewIndex[every, string]("short"),
			model.NewIndex[every, string]("maybe"), model.NewIndex[every, guuid.UUID]("uid"), model.NewIndex[every, string]("uidtext"),
			model.NewIndex[every, []byte]("raw"), model.NewIndex[every, mood]("mood"), model.NewIndex[every, string]("filled"),
			model.NewIndex[every, string]("chars"), model.NewIndex[every, string]("fold"), model.NewIndex[every, string]("number"),
			model.NewIndex[every, string]("address"), model.NewIndex[every, string]("day"),
		},
		Canonical: map[string]func(string) string{
			"filled": trim, "chars": trim, "fold": strings.ToLower,
			"number":  func(s string) string { return strings.TrimRight(strings.TrimRight(s, "0"), ".") },
			"address": strings.ToLower,                                      // as the output function spells it: without /32
			"day":     func(s string) string { return s[:min(10, len(s))] }, // a driver makes a time of it, and a string of that
		},
	}).Relation()
}

// The trigger, in SQL, and the repository, in Go, spell the key and index values of a row alike, whatever the settings of the
// session that writes, and whichever driver reads. One byte that differs is an invalidation that never meets its entry.
func TestCapturedTextsAreTheRowsOwn(t *testing.T) {
	t.Parallel()
	rel := everyTable()
	up, _ := migrations.Capture(rel, false)
	pg := testenv.PostgresWith(t, schema(t)+everySchema+up)
	writer := pg.Open(t)
	writer.SetMaxOpenConns(1)
	readers := []*sqlx.DB{pg.Open(t), pg.OpenPgx(t)}
	for _, r := range readers {
		r.SetMaxOpenConns(1)
		r.MustExec("SET TimeZone = 'America/St_Johns'; SET bytea_output = 'escape'; SET extra_float_digits = -15; SET IntervalStyle = 'iso_8601'")
	}
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	var columns []string
	for _, c := range rel.Columns {
		columns = append(columns, c.Name)
	}
	read := func(id int) (images []model.Image) {
		t.Helper()
		for _, r := range readers {
			var rec every
			if err := r.Get(&rec, "SELECT "+strings.Join(columns, ", ")+" FROM every WHERE id = $1", id); err != nil {
				t.Fatal(err)
			}
			img, err := rel.Image(&rec)
			if err != nil {
				t.Fatal(err)
			}
			images = append(images, img)
		}
		return images
	}
	for id := range 60 {
		writer.MustExec(fmt.Sprintf("SET TimeZone = '%s'; SET DateStyle = '%s'; SET bytea_output = '%s'; SET extra_float_digits = %d; SET IntervalStyle = '%s'; SET lc_numeric = 'C'; SET search_path = pg_temp, public",
			pick(random, "Asia/Kathmandu", "America/St_Johns", "UTC"), pick(random, "German", "SQL, DMY", "Postgres, MDY", "ISO"), pick(random, "escape", "hex"),
			random.IntN(19)-15, pick(random, "iso_8601", "sql_standard", "postgres_verbose")))
		writer.MustExec("INSERT INTO every (id) VALUES ($1)", id)
		writer.MustExec(randomRow(random, id))
		before := read(id)
		writer.MustExec(randomRow(random, id))
		after := read(id)
		writer.MustExec("DELETE FROM every WHERE id = $1", id)

		var texts []string
		if err := writer.Select(&texts, "WITH gone AS (DELETE FROM public.aside_outbox RETURNING id, changes) SELECT changes::text FROM gone ORDER BY id"); err != nil {
			t.Fatal(err)
		}
		var got []model.Image // inserted; NULLs to before; before to after; deleted
		for _, text := range texts {
			r := &row{text: text}
			if r.decode(map[string][]*model.Relation{"public.every": {rel}}); !r.whole() {
				t.Fatalf("%s: %v %v", text, r.spoiled, r.missed)
			}
			for c := range r.changes.All() {
				got = append(got, c.Before, c.After)
			}
		}
		got = slices.DeleteFunc(got, func(i model.Image) bool { return i == nil })
		if len(got) != 6 {
			t.Fatalf("%d images in %q", len(got), texts)
		}
		for _, c := range []struct {
			captured model.Image
			rows     []model.Image
		}{{got[2], before}, {got[3], before}, {got[4], after}, {got[5], after}} {
			for i, row := range c.rows {
				for _, a := range rel.Accesses() {
					if k, want := a.OfImage(nil, c.captured), a.OfImage(nil, row); !slices.Equal(k, want) {
						t.Errorf("%s of row %d, reader %d: captured %+v, the row has %+v", a.Name, id, i, k, want)
					}
				}
			}
		}
		if t.Failed() {
			return
		}
	}
}

func pick(random *rand.Rand, of ...string) string { return of[random.IntN(len(of))] }

// randomRow is a statement that gives each column a random value, for some of them NULL.
func randomRow(random *rand.Rand, id int) string {
	parts := []string{"", " ", "a", "É", "NULL", "null", "{", "}", ",", `"`, `\`, `\x41`, "'", "\n", "\t", "%s", "日本", "Z", "0", "{{1,2},{3,4}}", "\u200b"}
	text := func(n int) string {
		var b strings.Builder
		for range random.IntN(n + 1) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		runes := []rune(b.String())
		return "'" + strings.ReplaceAll(string(runes[:min(n, len(runes))]), "'", "''") + "'"
	}
	maybe := func(s string) string {
		if random.IntN(4) == 0 {
			return "NULL"
		}
		return s
	}
	u := guuid.Must(guuid.NewRandom()).String()
	return fmt.Sprintf(`UPDATE every SET small = %d, plain = %s, unsig = %d, flag = %v, body = %s, short = %s, maybe = %s, uid = '%s', uidtext = '%s',
			raw = decode('%x', 'hex'), mood = '%s', filled = %s, chars = %s, fold = %s, number = %d / 10000.0, address = '%s', day = DATE '2000-01-01' + %d WHERE id = %d`,
		random.IntN(1<<16)-1<<15, maybe(fmt.Sprint(random.Int32())), random.Uint32(), random.IntN(2) == 0, text(40), maybe(text(20)), maybe(text(20)),
		strings.ToUpper(u), strings.ReplaceAll(u, "-", ""), []byte(text(9)), pick(random, "sad", "glad", `Quite, "so"`), text(3), text(7), text(9),
		random.Int64N(1e11)-5e10, pick(random, "10.0.0.1", "10.0.0.1/32", "10.0.0.0/8", "::1", "2001:DB8::/32"), random.IntN(300_000)-100_000, id)
}

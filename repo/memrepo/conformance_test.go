package memrepo_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/repo/memrepo"
	"github.com/asidego/aside/txhooks"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const schema = `
	CREATE TABLE items (
		id bigserial PRIMARY KEY,
		sku text COLLATE "C" NOT NULL,
		owner text,
		shelf bigint NOT NULL,
		weight double precision NOT NULL,
		made timestamptz NOT NULL,
		tags text[],
		version integer NOT NULL,
		gone boolean NOT NULL,
		shout text GENERATED ALWAYS AS (upper(sku)) STORED
	);
	CREATE UNIQUE INDEX items_sku ON items (sku) WHERE NOT gone;
	CREATE UNIQUE INDEX items_owner ON items (owner) WHERE NOT gone;
	CREATE TABLE seats (hall bigint, seat text COLLATE "C", guest text NOT NULL, PRIMARY KEY (hall, seat));`

type item struct {
	ID      int64          `db:"id"`
	SKU     string         `db:"sku"`
	Owner   *string        `db:"owner"`
	Shelf   int64          `db:"shelf"`
	Weight  float64        `db:"weight"`
	Made    time.Time      `db:"made"`
	Tags    pq.StringArray `db:"tags"`
	Version int            `db:"version"`
	Gone    bool           `db:"gone"`
	Shout   string         `db:"shout,readonly"`
}

type seatKey struct {
	Hall int64  `db:"hall"`
	Seat string `db:"seat"`
}

type seat struct {
	seatKey
	Guest string `db:"guest"`
}

var (
	bySKU   = model.NewUnique[item, string]("sku")
	byOwner = model.NewUnique[item, string]("owner")
	byShelf = model.NewIndex[item, int64]("shelf").OrderBy("weight DESC", "made", "sku DESC")
	items   = model.MustTable(model.Spec[item, int64]{
		Name: "items", Key: "id", Version: "version", Filter: "NOT gone",
		Indexes: model.Indexes[item]{bySKU, byOwner, byShelf},
	})
	byGuest = model.NewIndex[seat, string]("guest").OrderBy("seat DESC")
	seats   = model.MustTable(model.Spec[seat, seatKey]{Name: "seats", Indexes: model.Indexes[seat]{byGuest}})
)

// each runs a script on PostgreSQL with both drivers and in memory, and compares what it wrote down.
func each(t *testing.T, script func(ctx context.Context, log *journal, items repo.Repository[item, int64], seats repo.Repository[seat, seatKey])) {
	t.Helper()
	run := func(items repo.Repository[item, int64], seats repo.Repository[seat, seatKey]) []string {
		log := &journal{}
		script(t.Context(), log, items, seats)
		return log.lines
	}
	want := run(memrepo.New(items).
		Filter(func(i item) bool { return !i.Gone }).
		Fill(func(i *item, _ bool) { i.Shout = strings.ToUpper(i.SKU) }), memrepo.New(seats))
	for _, driver := range []string{"postgres", "pgx"} {
		db := txhooks.New(testenv.Open(t, driver, testenv.PostgresWith(t, schema).URL()), txhooks.Config{})
		got := run(repo.New(db, items), repo.New(db, seats))
		if len(got) != len(want) {
			t.Errorf("%s: %d answers, %d in memory", driver, len(got), len(want))
		}
		wrong := 0
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] && wrong < 10 {
				wrong++
				t.Errorf("%d:\n%-8s %s\nmemory   %s", i, driver, got[i], want[i])
			}
		}
	}
}

// journal has answers in words that all implementations should share.
type journal struct{ lines []string }

func (j *journal) add(what string, result any, err error) {
	answer := fmt.Sprintf("%+v", result)
	var known *model.Error
	switch {
	case errors.As(err, &known):
		answer = fmt.Sprintf("%v %s %s %q", known.Kind, known.Table, known.Index, known.Value)
	case errors.Is(err, repo.ErrCursor), errors.Is(err, context.Canceled):
		answer = err.Error()
	case err != nil:
		answer, _, _ = strings.Cut(err.Error(), "pq: ") // the server's words are not ours
		answer, _, _ = strings.Cut(answer, "ERROR: ")
		answer, _, _ = strings.Cut(answer, "no text in PostgreSQL")
	}
	j.lines = append(j.lines, what+": "+answer)
}

func show(i item) string {
	owner := "-"
	if i.Owner != nil {
		owner = *i.Owner
	}
	return fmt.Sprintf("%d %q %s %d %v %s %q v%d %t %s", i.ID, i.SKU, owner, i.Shelf, i.Weight,
		i.Made.Format(time.RFC3339Nano), []string(i.Tags), i.Version, i.Gone, i.Shout)
}

func shows(list []item) string {
	var lines []string
	for _, i := range list {
		lines = append(lines, show(i))
	}
	return strings.Join(lines, "; ")
}

func TestConformance(t *testing.T) {
	t.Parallel()
	each(t, func(ctx context.Context, log *journal, items repo.Repository[item, int64], seats repo.Repository[seat, seatKey]) {
		made := time.Date(2024, 1, 2, 3, 4, 5, 6000, time.FixedZone("x", 3600))
		a, err := items.Insert(ctx, item{SKU: "a", Shelf: 1, Made: made, Shout: "ignored"})
		log.add("insert", show(a), err)
		_, err = items.Insert(ctx, item{SKU: "a", Shelf: 1, Made: made})
		log.add("duplicate sku", nil, err)
		_, err = items.Insert(ctx, item{ID: 1, SKU: "b", Shelf: 1, Made: made})
		log.add("duplicate key", nil, err)
		_, err = items.Insert(ctx, item{SKU: "\xff", Shelf: 1, Made: made})
		log.add("no UTF-8", nil, err)
		_, err = items.FindBy(ctx, bySKU.Eq("a\x00"))
		log.add("NUL", nil, err)
		_, err = items.FindBy(ctx, bySKU.Eq(strings.Repeat("ü", 100)))
		log.add("long and missing", nil, err)
		_, err = items.Find(ctx, 77)
		log.add("missing", nil, err)
		n, err := items.Count(ctx, byShelf.Eq(1))
		log.add("count", n, err)
		_, err = items.Modify(ctx, 77, func(*item) error { return nil })
		log.add("modify missing", nil, err)
		m, err := items.Modify(ctx, a.ID, func(i *item) error { i.Version = 90; return nil })
		log.add("modify nothing", show(m), err)
		m, err = items.Modify(ctx, a.ID, func(i *item) error { i.Version, i.SKU, i.Tags = 90, "c", pq.StringArray{"x"}; return nil })
		log.add("modify", show(m), err)
		_, err = items.Modify(ctx, a.ID, func(i *item) error { i.ID = 2; return nil })
		log.add("modify key", nil, err)
		_, err = items.Modify(ctx, a.ID, func(i *item) error { i.Shout = "2"; return nil })
		log.add("modify generated", nil, err)
		_, err = items.Modify(ctx, a.ID, func(*item) error { return errors.New("refused") })
		log.add("modify refused", nil, err)
		_, err = items.Update(ctx, a)
		log.add("update old", nil, err)
		m.Shelf, m.Shout = 2, "ignored"
		u, err := items.Update(ctx, m)
		log.add("update", show(u), err)
		_, err = items.Update(ctx, item{ID: 55})
		log.add("update missing", nil, err)
		_, err = items.Modify(ctx, a.ID, func(i *item) error { i.Gone = true; return nil })
		log.add("delete softly", nil, err)
		_, err = items.FindBy(ctx, bySKU.Eq("c"))
		log.add("find gone", nil, err)
		log.add("delete gone", nil, items.Delete(ctx, a.ID))
		_, err = items.Insert(ctx, item{SKU: "c", Shelf: 1, Made: made})
		log.add("insert over gone", nil, err)
		_, err = items.ListBy(ctx, byShelf.Eq(1), repo.Page{Limit: 1001})
		log.add("limit", nil, err)
		_, err = items.ListBy(ctx, byShelf.Eq(1), repo.Page{After: "nonsense"})
		log.add("cursor", nil, err)
		_, err = items.FindBy(ctx, model.One[item]{})
		log.add("no reference", nil, err)
		ended, cancel := context.WithCancel(ctx)
		cancel()
		_, err = items.Find(ended, 1)
		log.add("ended", nil, err)

		_, err = seats.Update(ctx, seat{})
		log.add("no version", nil, err)
		for _, s := range []string{"b", "a", "B", "aa"} {
			_, err = seats.Insert(ctx, seat{seatKey{1, s}, "g"})
			log.add("seat", nil, err)
		}
		_, err = seats.Insert(ctx, seat{seatKey{1, "a"}, "g"})
		log.add("seat taken", nil, err)
		many, err := seats.FindMany(ctx, []seatKey{{1, "aa"}, {2, "a"}, {1, "b"}, {1, "aa"}})
		log.add("find many", many, err)
		list, err := seats.ListBy(ctx, byGuest.Eq("g"), repo.Page{Limit: 3})
		log.add("seats", list, err)
		list, err = seats.ListBy(ctx, byGuest.Eq("g"), repo.Page{After: list.Next})
		log.add("more seats", list, err)
		log.add("delete", nil, seats.Delete(ctx, seatKey{1, "a"}))
		log.add("delete again", nil, seats.Delete(ctx, seatKey{1, "a"}))
	})
}

// Random writes and reads, the same for all.
func TestRandomConformance(t *testing.T) {
	t.Parallel()
	each(t, func(ctx context.Context, log *journal, items repo.Repository[item, int64], _ repo.Repository[seat, seatKey]) {
		random := rand.New(rand.NewPCG(3, 4))
		one := func() item {
			i := item{
				SKU: string(rune('A' + random.IntN(40))), Shelf: int64(random.IntN(3)), Weight: float64(random.IntN(3)) / 4,
				Made: time.Unix(int64(random.IntN(3)), 1000*random.Int64N(2)),
			}
			if random.IntN(3) == 0 {
				o := string(rune('a' + random.IntN(9)))
				i.Owner = &o
			}
			if random.IntN(2) == 0 {
				i.Tags = pq.StringArray{"t"}
			}
			return i
		}
		for range 600 {
			id := 1 + random.Int64N(60)
			switch random.IntN(9) {
			case 0, 1:
				got, err := items.Insert(ctx, one())
				log.add("insert", show(got), err)
			case 2:
				next := one()
				got, err := items.Modify(ctx, id, func(i *item) error {
					i.SKU, i.Owner, i.Weight, i.Gone = next.SKU, next.Owner, next.Weight, random.IntN(6) == 0
					return nil
				})
				log.add("modify", show(got), err)
			case 3:
				next := one()
				next.ID, next.Version = id, random.IntN(3)
				got, err := items.Update(ctx, next)
				log.add("update", show(got), err)
			case 4:
				if random.IntN(3) == 0 {
					log.add("delete", nil, items.Delete(ctx, id))
				}
			case 5:
				got, err := items.FindBy(ctx, bySKU.Eq(one().SKU))
				log.add("find by sku", show(got), err)
			case 6:
				got, err := items.FindBy(ctx, byOwner.Eq("b"))
				log.add("find by owner", show(got), err)
			case 7:
				got, err := items.FindMany(ctx, []int64{id, 3, 9, id + 1, 3})
				log.add("find many", shows(got), err)
			case 8:
				page := repo.Page{Limit: 1 + random.IntN(6)}
				for {
					list, err := items.ListBy(ctx, byShelf.Eq(1), page)
					log.add("list", shows(list.Items)+string(list.Next), err)
					if page.After = list.Next; page.After == "" {
						break
					}
				}
			}
		}
	})
}

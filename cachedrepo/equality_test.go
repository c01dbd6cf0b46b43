package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/cachedrepo/store"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// The property: whatever spelling of a value is asked for, in whatever state of the cache, the answer is the one that the
// plain repository gives at that moment. It holds for every type that may be a key, in hundreds of spellings, and, for types
// that New refuses, also if it was told not to look (Config.Unchecked) or not to mind (Config.Allow).

// kept is a row with a value under test, as a key and as a unique index.
type kept[V any] struct {
	Key  V      `db:"key"`
	Val  V      `db:"val"`
	Note string `db:"note"`
}

// equalityCase is one pair of types.
type equalityCase struct {
	name    string // of the column's type
	refused bool   // by New, without a Canonical
	run     func(t *testing.T, conn *sqlx.DB, table string, unchecked bool)
}

func equality[V comparable](column string, canonical func(string) string, refused bool, values func(r *rand.Rand) []V) equalityCase {
	return equalityCase{column, refused, func(t *testing.T, conn *sqlx.DB, table string, unchecked bool) {
		byVal := model.NewUnique[kept[V], V]("val")
		spec := model.Spec[kept[V], V]{Name: table, Key: "key", Indexes: model.Indexes[kept[V]]{byVal}}
		if canonical != nil {
			spec.Canonical = map[string]func(string) string{"key": canonical, "val": canonical}
		}
		checkEquality(t, conn, model.MustTable(spec), byVal, unchecked, refused, values)
	}}
}

func checkEquality[V comparable](
	t *testing.T, conn *sqlx.DB, table *model.Table[kept[V], V], byVal *model.Unique[kept[V], V], unchecked, refused bool,
	values func(r *rand.Rand) []V,
) {
	seed := uint64(time.Now().UnixNano())
	r := rand.New(rand.NewPCG(seed, 1))
	db := txhooks.New(conn, txhooks.Config{})
	cfg := cachedrepo.Config{Namespace: "equal", Tables: model.Tables{table}, Timeout: patience, Logger: silent(), Unchecked: unchecked}
	if refused && !unchecked {
		if _, err := cachedrepo.New(db, memstore.New(memstore.Config{}), cfg); err == nil || !strings.Contains(err.Error(), "key-equality") {
			t.Errorf("New does not refuse it: %v", err)
		}
		cfg.Allow = []string{"key-equality:" + table.Relation().Name}
	}
	var st store.Store = memstore.New(memstore.Config{})
	c, err := cachedrepo.New(db, st, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	plain := repo.New(db, table)
	cached := cachedrepo.Wrap(c, repo.Repository[kept[V], V](plain))
	all := values(r)
	any1 := func() V { return all[r.IntN(len(all))] }

	say := func(rec kept[V], err error) string {
		switch {
		case errors.Is(err, model.ErrNotFound):
			return "not found"
		case err != nil:
			return "error"
		}
		return fmt.Sprintf("%+v", rec)
	}
	sayMany := func(recs []kept[V], err error) string {
		if err != nil {
			return "error"
		}
		return fmt.Sprintf("%+v", recs)
	}
	check := func(step int, what string, asked any, got, want string) {
		if got != want {
			t.Fatalf("seed %d, step %d: %s(%#v)\n cached: %s\n plain:  %s", seed, step, what, asked, got, want)
		}
	}
	ask := func(step int, v V) {
		rec, err := plain.Find(t.Context(), v)
		want := say(rec, err)
		for range 2 {
			rec, err = cached.Find(t.Context(), v)
			check(step, "Find", v, say(rec, err), want)
		}
		rec, err = plain.FindBy(t.Context(), byVal.Eq(v))
		want = say(rec, err)
		for range 2 {
			rec, err = cached.FindBy(t.Context(), byVal.Eq(v))
			check(step, "FindBy", v, say(rec, err), want)
		}
	}
	askMany := func(step int) {
		vs := make([]V, r.IntN(12))
		for i := range vs {
			vs[i] = any1()
		}
		recs, err := plain.FindMany(t.Context(), vs)
		want := sayMany(recs, err)
		if err == nil { // nor does it say that a row is absent which Find finds
			each := make([]kept[V], 0, len(vs))
			for _, v := range vs {
				if rec, err := plain.Find(t.Context(), v); err == nil {
					each = append(each, rec)
				}
			}
			check(step, "FindMany", vs, want, sayMany(each, nil))
		}
		recs, err = cached.FindMany(t.Context(), vs)
		check(step, "FindMany", vs, sayMany(recs, err), want)
		recs, err = repo.FindManyBy(t.Context(), repo.Finder[kept[V], V](plain), byVal, vs)
		want = sayMany(recs, err)
		recs, err = repo.FindManyBy(t.Context(), repo.Finder[kept[V], V](cached), byVal, vs)
		check(step, "FindManyBy", vs, sayMany(recs, err), want)
	}
	for i, v := range all {
		if i < 30 {
			ask(-1, v) // "not found" of each, where it may be stored
		}
	}
	steps := 25
	if os.Getenv("ASIDE_SOAK") != "" {
		steps = 3000
	}
	for step := range steps {
		v, w := any1(), any1()
		switch r.IntN(5) {
		case 0, 1: // those that fail (taken, not valid) are part of it
			_, _ = cached.Insert(t.Context(), kept[V]{Key: v, Val: w, Note: fmt.Sprint(step)})
		case 2:
			_, _ = cached.Modify(t.Context(), v, func(k *kept[V]) error { k.Val, k.Note = w, fmt.Sprint(step); return nil })
		case 3:
			_ = cached.Delete(t.Context(), v)
		}
		ask(step, v)
		ask(step, w)
		ask(step, any1())
		askMany(step)
	}
	if c.Stats().Hits == 0 && !refused && !unchecked {
		t.Error("nothing was cached")
	}
}

// near returns numbers and what is next to them.
func near[V int16 | int32 | int64 | uint32 | rank](extremes ...V) func(*rand.Rand) []V {
	return func(r *rand.Rand) []V {
		all := []V{0, 1, 2, 3, 10, 11, 100}
		for _, e := range extremes {
			all = append(all, e, e-1, e+1)
		}
		return append(all, V(r.IntN(100)))
	}
}

type rank int32

// spellings are words in every way of writing them that comes to mind.
func spellings(words ...string) func(*rand.Rand) []string {
	return func(*rand.Rand) (all []string) {
		for _, w := range words {
			all = append(all, w, strings.ToUpper(w), strings.ToTitle(w[:1])+w[1:], w+" ", w+"  ", " "+w, w+"\t", w+":", "%"+w, w+"#", "{"+w+"}", w+w)
		}
		return append(all, "", " ", "  ")
	}
}

// texts adds to these what distinguishes bytes alone, and what is not valid.
func texts(r *rand.Rand) []string {
	long := strings.Repeat("x", 200)
	return append(spellings("ab", "ß", "straße")(r), "é", "e\u0301", "É", "\u212b", "\u00c5", "I", "ı", "İ", "😀", long, long+" ", long+"y",
		"a:b", "a%3Ab", "a#b", "null", "NULL", "\x00", "\xff", "a\nb", "\u00a0ab", "ab\u200b", "~probe", "-1", "01", "1")
}

func ids(r *rand.Rand) (all []string) {
	for range 4 {
		var u uuid.UUID
		for i := range u {
			u[i] = byte(r.Uint32())
		}
		id := u.String()
		all = append(all, id, strings.ToUpper(id), strings.ReplaceAll(id, "-", ""), "{"+id+"}", id[:8]+strings.ReplaceAll(id[8:], "-", ""),
			"{"+strings.ToUpper(strings.ReplaceAll(id, "-", ""))+"}", strings.ToUpper(id[:4])+id[4:])
	}
	return append(all, "", "x", all[0]+" ", " "+all[0], "urn:uuid:"+all[0])
}

func trimRight(s string) string { return strings.TrimRight(s, " ") }

var equalityCases = []equalityCase{
	equality("bigint", nil, false, near[int64](math.MaxInt64-1, math.MinInt64+1, math.MaxInt32)),
	equality("integer", nil, false, near[int32](math.MaxInt32-1, math.MinInt32+1)),
	equality("integer /* of an unsigned field */", nil, false, near[uint32](math.MaxInt32, math.MaxUint32-1)),
	equality("integer /* of a named type */", nil, false, near[rank](math.MaxInt32-1, 7)),
	equality("smallint", nil, false, near[int16](math.MaxInt16-1, math.MinInt16+1)),
	equality("smallint /* of a larger field */", nil, false, near[int64](math.MaxInt16, math.MinInt16, math.MaxInt32)),
	equality("equal_number", nil, false, near[int64](5)),
	equality("boolean", nil, false, func(*rand.Rand) []bool { return []bool{true, false} }),
	equality("text", nil, false, texts),
	equality(`text COLLATE "C"`, nil, false, texts),
	equality("varchar(6)", nil, false, texts),
	equality("equal_text", nil, false, texts),
	equality("equal_mood", nil, false, spellings("sad", "happy")),
	equality("uuid", nil, false, ids),
	equality("uuid /* of an array */", nil, false, func(r *rand.Rand) (all []uuid.UUID) {
		for _, s := range ids(r) {
			if u, err := uuid.Parse(s); err == nil {
				all = append(all, u)
			}
		}
		return append(all, uuid.Nil, uuid.Max)
	}),
	equality("text /* of an array */", nil, false, func(r *rand.Rand) []uuid.UUID { return []uuid.UUID{uuid.New(), uuid.New(), uuid.Max} }),
	equality("char(6)", trimRight, false, spellings("ab", "cd", "e")),
	equality("citext", strings.ToLower, false, spellings("ab", "mail@example.org", "z")),
	equality("text COLLATE equal_case", strings.ToLower, false, spellings("ab", "mail", "z")),
	equality("varchar(9) COLLATE equal_case", strings.ToLower, false, spellings("ab", "cd")),

	equality("char(6)", nil, true, spellings("ab", "cd", "e")),
	equality("citext", nil, true, spellings("ab", "mail@example.org", "É")),
	equality("text COLLATE equal_case", nil, true, texts),
	equality("numeric", nil, true, numbers),
	equality("numeric(10,2)", nil, true, numbers),
	equality("double precision", nil, true, numbers),
	equality("timestamptz", nil, true, times),
	equality("timestamp", nil, true, times),
	equality("date", nil, true, times),
	equality("interval", nil, true, func(*rand.Rand) []string {
		return []string{"24:00:00", "1 day", "24 hours", "1 mon", "30 days", "1440 minutes", "PT24H", "x", "-1 day", "00:00:00", "0"}
	}),
	equality("inet", nil, true, func(*rand.Rand) []string {
		return []string{"10.0.0.1", "10.0.0.1/32", "010.0.0.1", "10.0.0.1/24", "::1", "0:0:0:0:0:0:0:1", "::1/128", "::FFFF:10.0.0.1", "x"}
	}),
	equality("jsonb", nil, true, func(*rand.Rand) []string {
		return []string{"1", "1.0", "1e0", " 1", `{"a":1,"b":2}`, `{"b":2,"a":1}`, `{"a":1.0,"b":2}`, "null", `"x"`, "x", "[]", "[ ]"}
	}),
	equality("money", nil, true, func(*rand.Rand) []string { return []string{"1", "$1.00", "1.00", "$1", "1.004", "2", "-1", "x"} }),
	equality("numeric /* of a number */", nil, true, near[int64](math.MaxInt32)),
}

func numbers(*rand.Rand) []string {
	return []string{"1", "1.0", "1.00", "01", "+1", " 1 ", "1e0", "10e-1", "0", "-0", "0.0", "NaN", "nan", "Infinity", "inf", "2", "2.5", "2.50", "x", "", "1e400"}
}

func times(*rand.Rand) []string {
	return []string{
		"2026-01-02", "20260102", "2026-01-02 00:00:00", "2026-01-02T00:00:00Z", "2026-01-02 00:00:00+00", "2026-01-02 02:00:00+02",
		"January 2, 2026", "2026-01-02 00:00:00.0000001", "2026-01-02 00:00:00.000001", "infinity", "Infinity", "-infinity", "x", "2026-02-30",
	}
}

func TestKeyBytesAreSQLEquality(t *testing.T) {
	t.Parallel()
	pg := testenv.PostgresWith(t, `CREATE EXTENSION citext;
		CREATE COLLATION equal_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		CREATE DOMAIN equal_text AS text CHECK (length(VALUE) < 1000);
		CREATE DOMAIN equal_number AS bigint;
		CREATE TYPE equal_mood AS ENUM ('sad', 'happy', 'Sad')`)
	conn := pg.Open(t)
	for i, c := range equalityCases {
		for _, unchecked := range []bool{false, true} {
			name := c.name
			if unchecked {
				name += " unchecked"
			}
			table := fmt.Sprintf("kept_%d_%t", i, unchecked)
			conn.MustExec(fmt.Sprintf("CREATE TABLE %s (key %s PRIMARY KEY, val %[2]s UNIQUE NOT NULL, note text NOT NULL)", table, c.name))
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c.run(t, conn, table, unchecked)
			})
		}
	}
}

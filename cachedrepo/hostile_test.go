package cachedrepo_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// hostile is a case: what it says must not depend on whether there is a cache, nor on the driver.
type hostile struct {
	name string
	run  func(e *env)
	how  how
}

// how says what is special about a case.
type how uint8

const (
	refuses  how = 1 << iota // no line of it says ok
	unlike                   // the drivers do not agree, with or without a cache
	uncached                 // nothing of it is answered by the store
)

// env is what a case runs in: one database, one driver, with or without a cache. The tables are empty when a case begins.
type env struct {
	t      *testing.T
	driver string
	on     bool // reads are cached
	conn   *sqlx.DB
	beside *sqlx.DB // of somebody who does not know the library
	db     *txhooks.DB
	cache  *cachedrepo.Cache
	client *redis.Client
	ns     string
	caches []*cachedrepo.Cache

	ctx   context.Context
	lines []string

	items    repo.Repository[item, int64]
	sqlItems *repo.SQL[item, int64]
}

// The transcript of every case, without a cache and with one, over lib/pq and over pgx, is the same line by line.
func TestHostile(t *testing.T) {
	t.Parallel()
	type setup struct {
		driver string
		on     bool
	}
	setups := []setup{{"postgres", false}, {"postgres", true}, {"pgx", false}, {"pgx", true}}
	said := make(map[setup][][]string)
	hits := make(map[setup][]uint64)
	var mu sync.Mutex
	t.Run("run", func(t *testing.T) {
		for _, s := range setups {
			t.Run(fmt.Sprintf("%s,cache=%v", s.driver, s.on), func(t *testing.T) {
				t.Parallel()
				e := newEnv(t, s.driver, s.on)
				var lines [][]string
				var served []uint64
				for _, c := range hostileCases {
					before := e.hits()
					lines = append(lines, e.case1(c))
					served = append(served, e.hits()-before)
				}
				mu.Lock()
				defer mu.Unlock()
				said[s], hits[s] = lines, served
			})
		}
	})
	if len(said) != len(setups) {
		return
	}
	lines, stale := 0, 0
	for i, c := range hostileCases {
		want := said[setups[0]][i]
		lines += len(want)
		if ok := slices.ContainsFunc(want, func(l string) bool { return strings.Contains(l, ": ok") }); ok != (c.how&refuses == 0) {
			t.Errorf("%s: a line says ok: %v", c.name, ok)
		}
		wrong := false
		for _, s := range setups[1:] {
			if c.how&unlike != 0 && !s.on {
				want = said[s][i]
				continue
			}
			if diff := firstDifference(want, said[s][i]); diff != "" {
				wrong = true
				t.Errorf("%s: %s,cache=%v: %s", c.name, s.driver, s.on, diff)
			}
		}
		if wrong {
			stale++
		}
		if served := hits[setups[1]][i]; (served == 0) != (c.how&uncached != 0) {
			t.Errorf("%s: %d answers came from the store", c.name, served)
		}
	}
	t.Logf("%d hostile cases, %d lines each in %d setups; in %d cases the answers differ", len(hostileCases), lines, len(setups), stale)
}

func firstDifference(want, got []string) string {
	for i := range max(len(want), len(got)) {
		a, b := "(nothing)", "(nothing)"
		if i < len(want) {
			a = want[i]
		}
		if i < len(got) {
			b = got[i]
		}
		if a != b {
			return fmt.Sprintf("line %d of %d\n\twant %s\n\tgot  %s", i+1, len(want), a, b)
		}
	}
	return ""
}

const hostileSecret = "a secret of sixteen bytes or more"

func newEnv(t *testing.T, driver string, on bool) *env {
	t.Helper()
	pg := testenv.PostgresWith(t, hostileSchema)
	server := testenv.NewRedis(t) // of its own: it is flushed between cases
	e := &env{
		t: t, driver: driver, on: on, ns: server.Prefix(), client: server.Client(t),
		conn: testenv.Open(t, driver, pg.URL()), beside: pg.Open(t),
	}
	e.conn.SetMaxIdleConns(8)
	e.db = txhooks.New(e.conn, txhooks.Config{Scope: tenantOf, Logger: silent()})
	e.cache = e.open(e.ns, cachedrepo.Config{})
	e.sqlItems = repo.New(e.db, items)
	e.items = wrapped(e, e.cache, items)
	return e
}

// open makes a further cache over the same database and server.
func (e *env) open(namespace string, cfg cachedrepo.Config) *cachedrepo.Cache {
	cfg.Namespace, cfg.Logger, cfg.Timeout, cfg.Secret = namespace, silent(), patience, []byte(hostileSecret)
	cfg.Allow = []string{"cascade:children"} // its case touches them
	if cfg.Tables == nil {
		cfg.Tables = hostileTables
	}
	c, err := cachedrepo.New(e.db, redisstore.New(e.client), cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = c.Close(ctx)
	})
	e.caches = append(e.caches, c)
	if !e.on {
		c = c.With(cachedrepo.Options{Off: true})
	}
	return c
}

// hits counts what the store has answered.
func (e *env) hits() (n uint64) {
	for _, c := range e.caches {
		n += c.Stats().Hits
	}
	return n
}

// wrapped is a repository over a table, cached by c if this setup has a cache.
func wrapped[T any, K comparable](e *env, c *cachedrepo.Cache, table *model.Table[T, K]) repo.Repository[T, K] {
	return cachedrepo.Wrap(c, repo.Repository[T, K](repo.New(e.db, table)))
}

// of is wrapped by the cache that all cases share.
func of[T any, K comparable](e *env, table *model.Table[T, K]) repo.Repository[T, K] {
	return wrapped(e, e.cache, table)
}

// case1 runs a case on empty tables and an empty store.
func (e *env) case1(c hostile) []string {
	e.beside.MustExec(emptyHostile)
	if err := e.client.FlushDB(context.Background()).Err(); err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	e.ctx, e.lines = ctx, nil
	func() {
		defer func() {
			if v := recover(); v != nil {
				e.t.Errorf("%s: panic: %v", c.name, v)
			}
		}()
		c.run(e)
	}()
	return e.lines
}

// say adds a line: what was done, and what came of it.
func (e *env) say(what string, got any, err error) {
	line := what + ": "
	if err != nil {
		line += outcomeText(err)
	} else {
		line += "ok " + show(reflect.ValueOf(got))
	}
	e.lines = append(e.lines, line)
}

// did is say for what returns nothing but an error.
func (e *env) did(what string, err error) { e.say(what, nil, err) }

// exec sends statements beside the library, before anything is cached or where a case says so.
func (e *env) exec(query string, args ...any) {
	if _, err := e.beside.Exec(query, args...); err != nil {
		panic(fmt.Sprintf("%s: %v", query, err))
	}
}

// send sends a statement through the library's transaction.
func (e *env) send(ctx context.Context, query string, args ...any) error {
	_, err := e.db.ExecContext(ctx, query, args...)
	return err
}

// run runs fn in a transaction and says what came of it; a panic in fn is said too.
func (e *env) run(what string, fn func(ctx context.Context) error) {
	e.runWith(what, txhooks.Options{}, fn)
}

func (e *env) runWith(what string, o txhooks.Options, fn func(ctx context.Context) error) {
	defer func() {
		if v := recover(); v != nil {
			e.lines = append(e.lines, what+": panic")
		}
	}()
	e.did(what, e.db.RunWith(e.ctx, o, fn))
}

// look reads rows by their keys, each twice, and all together.
func look[T any, K comparable](e *env, r repo.Finder[T, K], keys ...K) {
	lookIn(e, e.ctx, r, keys...)
}

func lookIn[T any, K comparable](e *env, ctx context.Context, r repo.Finder[T, K], keys ...K) {
	for range 2 {
		for _, k := range keys {
			rec, err := r.Find(ctx, k)
			e.say("find "+show(reflect.ValueOf(k)), rec, err)
		}
	}
	recs, err := r.FindMany(ctx, append(slices.Clone(keys), keys...))
	e.say("find many", recs, err)
}

// lookBy is look by a unique index.
func lookBy[T any, K comparable, V any](e *env, r repo.Finder[T, K], by *model.Unique[T, V], values ...V) {
	lookByIn(e, e.ctx, r, by, values...)
}

func lookByIn[T any, K comparable, V any](e *env, ctx context.Context, r repo.Finder[T, K], by *model.Unique[T, V], values ...V) {
	for range 2 {
		for _, v := range values {
			rec, err := r.FindBy(ctx, by.Eq(v))
			e.say("find by "+show(reflect.ValueOf(v)), rec, err)
		}
	}
	recs, err := repo.FindManyBy(ctx, r, by, append(slices.Clone(values), values...))
	e.say("find many by", recs, err)
}

// see looks at items and at slugs, two of which nobody ever has.
func (e *env) see(ids []int64, slugs ...string) { e.seeIn(e.ctx, ids, slugs...) }

func (e *env) seeIn(ctx context.Context, ids []int64, slugs ...string) {
	lookIn(e, ctx, e.items, ids...)
	lookByIn(e, ctx, e.items, itemSlug, slugs...)
}

// have adds items with the ids 1, 2, ... and these slugs, before anything is cached, and looks at them.
func (e *env) have(slugs ...string) []int64 {
	ids := make([]int64, len(slugs))
	for i, slug := range slugs {
		ids[i] = int64(i + 1)
		e.exec(`INSERT INTO items (id, slug, name, team) VALUES ($1, $2, $3, 7)`, ids[i], slug, "n"+strconv.Itoa(i+1))
	}
	e.exec(`SELECT setval('items_id_seq', 100)`)
	e.see(ids, slugs...)
	return ids
}

// slugged changes the slug of an item.
func slugged(slug string) func(*item) error {
	return func(i *item) error { i.Slug = slug; return nil }
}

func named(name string) func(*item) error {
	return func(i *item) error { i.Name = name; return nil }
}

var errHostile = errors.New("fn's own error")

// outcomeText is what an error tells a caller, in words that do not depend on the driver.
func outcomeText(err error) string {
	for _, k := range []struct {
		err  error
		text string
	}{
		{model.ErrNoScope, "no scope"},
		{model.ErrInDoubt, "in doubt"},
		{txhooks.ErrEndedOutside, "ended outside"},
		{txhooks.ErrFinished, "finished"},
		{txhooks.ErrConcurrent, "concurrent"},
		{model.ErrConflict, "conflict"},
		{model.ErrDuplicate, "duplicate"},
		{model.ErrForeignKey, "foreign key"},
		{errHostile, "own error"},
		{errItemNotFound, "own not found"},
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "deadline"},
	} {
		if errors.Is(err, k.err) {
			return k.text
		}
	}
	if errors.Is(err, model.ErrNotFound) {
		return "not found"
	}
	if errors.Is(err, sql.ErrNoRows) {
		return "no rows"
	}
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return "SQLSTATE " + state.SQLState()
	}
	return "error"
}

// show prints a value with what its pointers lead to, and tells nil from empty, -0 from 0.
func show(v reflect.Value) string {
	if !v.IsValid() {
		return ""
	}
	switch x := v.Interface().(type) {
	case time.Time:
		if x.Location() != time.UTC {
			return "not UTC: " + x.String()
		}
		return x.Format(time.RFC3339Nano)
	case []byte:
		if x == nil {
			return "nil"
		}
		if len(x) > 40 {
			return fmt.Sprintf("%d bytes ending in %q", len(x), x[len(x)-8:])
		}
		return fmt.Sprintf("%q", x)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return "nil"
		}
		return "&" + show(v.Elem())
	case reflect.String:
		if s := v.String(); len(s) > 100 {
			return fmt.Sprintf("%d bytes ending in %q", len(s), s[len(s)-8:])
		}
		return strconv.Quote(v.String())
	case reflect.Float32, reflect.Float64:
		return strconv.FormatFloat(v.Float(), 'g', -1, 64)
	case reflect.Slice:
		if v.IsNil() {
			return "nil"
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return show(reflect.ValueOf(v.Bytes()))
		}
		parts := make([]string, v.Len())
		for i := range parts {
			parts[i] = show(v.Index(i))
		}
		return "[" + strings.Join(parts, " ") + "]"
	case reflect.Struct:
		parts := make([]string, v.NumField())
		for i := range parts {
			if !v.Type().Field(i).IsExported() && !v.Type().Field(i).Anonymous {
				return fmt.Sprint(v.Interface())
			}
			parts[i] = show(v.Field(i))
		}
		return "{" + strings.Join(parts, " ") + "}"
	}
	return fmt.Sprint(v.Interface())
}

// keyOf is the key in the store under which this setup caches a row.
func (e *env) keyOf(table, index, value string) string {
	return e.ns + ":" + table + ":" + index + ":" + value
}

func (e *env) keysOfItem(id int64, slug string) []string {
	return []string{e.keyOf("items", "id", strconv.FormatInt(id, 10)), e.keyOf("items", "slug", slug)}
}

// plant puts a value at a key of ours, as somebody would who uses the same server.
func (e *env) plant(key, value string) {
	if err := e.client.Set(e.ctx, key, value, time.Minute).Err(); err != nil {
		panic(err)
	}
}

// copyEntry plants what is at one key at another. With a cache there must be something to copy.
func (e *env) copyEntry(from, to string) {
	value, err := e.client.Get(e.ctx, from).Result()
	if err != nil && e.on {
		panic(fmt.Sprintf("%s: %v", from, err))
	}
	e.plant(to, value)
}

func xadd(key string) *redis.XAddArgs {
	return &redis.XAddArgs{Stream: key, Values: []string{"id", "1"}}
}

// textsRow is the table odds with one row in it.
func textsRow(e *env) *model.Table[odd, int64] {
	e.exec(`INSERT INTO odds (id) VALUES (1)`)
	return odds
}

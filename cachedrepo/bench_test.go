package cachedrepo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// Each benchmark measures two ways of doing the same, turn by turn in one run, and reports the medians and their ratio:
// whatever else the machine does strikes both. See docs/benchmarks.md.

// bench is a shop twice, on one database and one Redis: with the library, and without it.
type bench struct {
	cached repo.Repository[product, int64]
	conn   *sqlx.DB                  // nobody subscribes to the transactions of this pool
	plain  *repo.SQL[product, int64] // on conn
	client *redis.Client
	prefix string
	rows   []product
}

func newBench(b *testing.B) *bench { return newBenchOf(b, products) }

func newBenchOf(b *testing.B, table *model.Table[product, int64]) *bench {
	b.Helper()
	pg, server := testenv.PostgresWith(b, shopSchema), testenv.Redis(b)
	conn, client := pg.Open(b), server.Client(b)
	through := pg.Open(b)
	db := txhooks.New(through, txhooks.Config{})
	c, err := cachedrepo.New(db, redisstore.New(client), cachedrepo.Config{
		Namespace: server.Prefix(), Tables: model.Tables{table}, TTL: time.Hour, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		Timeout: time.Second / 5, // a run that waits for a busy machine is slow, not broken
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			b.Error(err)
		}
	})
	s := &bench{cached: cachedrepo.Wrap(c, repo.New(db, table)), conn: conn, client: client, prefix: server.Prefix() + "_raw:"}
	s.plain = repo.New(txhooks.New(conn, txhooks.Config{}), table)
	for i := range 100 {
		p, err := s.plain.Insert(b.Context(), product{SKU: fmt.Sprint("SKU-", i), Name: "something with a name", Tags: pq.StringArray{"a", "b"}})
		if err != nil {
			b.Fatal(err)
		}
		products.Relation().Normalize(&p)
		s.rows = append(s.rows, p)
	}
	return s
}

// record is a product as somebody would store it by hand: the codec's own form is not needed to read it.
type record struct {
	ID       int64     `cbor:"id"`
	SKU      string    `cbor:"sku"`
	Name     string    `cbor:"name"`
	Category *int64    `cbor:"category_id"`
	Tags     []string  `cbor:"tags"`
	Version  int       `cbor:"version"`
	Updated  time.Time `cbor:"updated_at"`
}

var byHand = func() cbor.EncMode {
	mode, err := cbor.EncOptions{Time: cbor.TimeRFC3339NanoUTC}.EncMode()
	if err != nil {
		panic(err)
	}
	return mode
}()

func (s *bench) key(id int64) string { return s.prefix + strconv.FormatInt(id, 10) }

func (s *bench) set(ctx context.Context, p product) error {
	payload, err := byHand.Marshal(record{p.ID, p.SKU, p.Name, p.Category, p.Tags, p.Version, p.Updated})
	if err != nil {
		return err
	}
	return s.client.Set(ctx, s.key(p.ID), payload, time.Hour).Err()
}

func (s *bench) get(ctx context.Context, id int64) (r record, err error) {
	payload, err := s.client.Get(ctx, s.key(id)).Bytes()
	if err == nil {
		err = cbor.Unmarshal(payload, &r)
	}
	return r, err
}

// warm puts all rows where both ways find them.
func (s *bench) warm(b *testing.B) {
	b.Helper()
	for _, p := range s.rows {
		if err := s.set(b.Context(), p); err != nil {
			b.Fatal(err)
		}
		if _, err := s.cached.Find(b.Context(), p.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// way is one way of doing something; i counts the turns.
type way struct {
	name   string
	before func(i int) error // not measured
	do     func(i int) error
}

// compare lets the ways take turns, the first one going last every other time, and reports the medians, and the last
// way's share of the first's.
func compare(b *testing.B, ways ...way) {
	b.Helper()
	took := make([][]time.Duration, len(ways))
	run := func(w, i int) {
		if before := ways[w].before; before != nil {
			if err := before(i); err != nil {
				b.Fatal(ways[w].name, err)
			}
		}
		start := time.Now()
		err := ways[w].do(i)
		took[w] = append(took[w], time.Since(start))
		if err != nil {
			b.Fatal(ways[w].name, err)
		}
	}
	for i := range 50 { // connections, statements, the shapes of types
		for w := range ways {
			run(w, i)
		}
	}
	for w := range took {
		took[w] = took[w][:0]
	}
	i := 0
	for b.Loop() {
		for w := range ways {
			if i%2 == 1 {
				w = len(ways) - 1 - w
			}
			run(w, i)
		}
		i++
	}
	var medians []float64
	for w, way := range ways {
		slices.Sort(took[w])
		median := float64(took[w][len(took[w])/2]) / float64(time.Microsecond)
		medians = append(medians, median)
		b.ReportMetric(median, "p50_"+way.name+"_us")
	}
	for w := range len(ways) - 1 {
		b.ReportMetric(medians[len(ways)-1]/medians[w], "x_"+ways[w].name)
	}
	b.ReportMetric(0, "ns/op") // all ways together: of no meaning
}

// A hit against a bare GET with decoding.
func BenchmarkHit(b *testing.B) {
	s := newBench(b)
	s.warm(b)
	ctx := b.Context()
	raw := func(i int) error {
		_, err := s.get(ctx, s.rows[i%100].ID)
		return err
	}
	aside := func(i int) error {
		_, err := s.cached.Find(ctx, s.rows[i%100].ID)
		return err
	}
	compare(b, way{"raw", nil, raw}, way{"aside", nil, aside})
	i := 0
	allocs := func(do func(i int) error) float64 {
		return testing.AllocsPerRun(1000, func() { _ = do(i); i++ })
	}
	b.ReportMetric(allocs(raw), "allocs_raw")
	b.ReportMetric(allocs(aside), "allocs_aside")
}

// A hit of a strict table against one of a table in default mode.
func BenchmarkHitStrict(b *testing.B) {
	hits := func(s *bench) func(i int) error {
		s.warm(b)
		return func(i int) error {
			_, err := s.cached.Find(b.Context(), s.rows[i%100].ID)
			return err
		}
	}
	compare(b, way{"default", nil, hits(newBench(b))}, way{"strict", nil, hits(newBenchOf(b, strictProducts))})
}

// One side alone, for profiles.
func BenchmarkHitAlone(b *testing.B) {
	s := newBench(b)
	s.warm(b)
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.get(b.Context(), s.rows[i%100].ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("aside", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if _, err := s.cached.Find(b.Context(), s.rows[i%100].ID); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A batch of 100 rows that are all there, against MGET with decoding.
func BenchmarkBatchHit(b *testing.B) {
	s := newBench(b)
	s.warm(b)
	ctx := b.Context()
	ids := make([]int64, len(s.rows))
	for i, p := range s.rows {
		ids[i] = p.ID
	}
	compare(b, way{"raw", nil, func(int) error {
		keys := make([]string, len(ids))
		for i, id := range ids {
			keys[i] = s.key(id)
		}
		values, err := s.client.MGet(ctx, keys...).Result()
		if err != nil {
			return err
		}
		records := make([]record, len(ids))
		for i, v := range values {
			if err := cbor.Unmarshal([]byte(v.(string)), &records[i]); err != nil {
				return err
			}
		}
		return nil
	}}, way{"aside", nil, func(int) error {
		rows, err := s.cached.FindMany(ctx, ids)
		if err == nil && len(rows) != len(ids) {
			err = fmt.Errorf("%d rows", len(rows))
		}
		return err
	}})
}

// A miss against GET, SELECT, SETEX, which protects nobody from stale rows.
func BenchmarkMiss(b *testing.B) {
	s := newBench(b)
	ctx := b.Context()
	s.warm(b)
	forget := func(i int) error {
		id := s.rows[i%100].ID
		n, err := s.client.Del(ctx, s.key(id), strings.TrimSuffix(s.prefix, "_raw:")+":products:id:"+strconv.FormatInt(id, 10)).Result()
		if err == nil && n == 0 {
			err = errors.New("nothing was cached")
		}
		return err
	}
	compare(b, way{"naive", forget, func(i int) error {
		id := s.rows[i%100].ID
		_, err := s.get(ctx, id)
		if !errors.Is(err, redis.Nil) {
			return fmt.Errorf("found: %v", err)
		}
		p, err := s.plain.Find(ctx, id)
		if err != nil {
			return err
		}
		return s.set(ctx, p)
	}}, way{"aside", forget, func(i int) error {
		_, err := s.cached.Find(ctx, s.rows[i%100].ID)
		return err
	}})
}

// An update against a bare statement and DEL, and against the plain repository and DEL.
func BenchmarkUpdate(b *testing.B) {
	s := newBench(b)
	ctx := b.Context()
	s.warm(b)
	del := func(i int) error { return s.client.Del(ctx, s.key(s.rows[i%100].ID)).Err() }
	modify := func(r repo.Repository[product, int64], i int) error {
		_, err := r.Modify(ctx, s.rows[i%100].ID, func(p *product) error { p.Name = fmt.Sprint("name ", i); return nil })
		return err
	}
	compare(b, way{"direct", nil, func(i int) error {
		_, err := s.conn.ExecContext(ctx, "UPDATE products SET name = $1, version = version + 1 WHERE id = $2", fmt.Sprint("name ", i), s.rows[i%100].ID)
		return errors.Join(err, del(i))
	}}, way{"naive", nil, func(i int) error {
		return errors.Join(modify(s.plain, i), del(i))
	}}, way{"aside", nil, func(i int) error {
		return modify(s.cached, i)
	}})
}

// 64 goroutines on 100 hot rows: how many hits a second, in slices of time that take turns.
func BenchmarkHotRows(b *testing.B) {
	s := newBench(b)
	s.warm(b)
	ctx := b.Context()
	const callers, each = 64, 100
	all := func(find func(id int64) error) func(int) error {
		return func(int) error {
			var wg sync.WaitGroup
			var failed atomic.Pointer[error]
			for g := range callers {
				wg.Go(func() {
					for i := range each {
						if err := find(s.rows[(i*17+g)%100].ID); err != nil {
							failed.Store(&err)
						}
					}
				})
			}
			wg.Wait()
			if err := failed.Load(); err != nil {
				return *err
			}
			return nil
		}
	}
	compare(b, way{"aside", nil, all(func(id int64) error {
		_, err := s.cached.Find(ctx, id)
		return err
	})}, way{"raw", nil, all(func(id int64) error { // last: the ratio is one of rates, not of times
		_, err := s.get(ctx, id)
		return err
	})})
}

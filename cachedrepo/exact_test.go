package cachedrepo_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/lib/pq"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// decimal is a numeric as libraries for it make them: its memory is its own business.
type decimal struct {
	unscaled *big.Int
	scale    int
}

func (d decimal) Value() (driver.Value, error) {
	if d.unscaled == nil {
		return nil, nil
	}
	digits := d.unscaled.String()
	for len(digits) <= d.scale {
		digits = "0" + digits
	}
	if d.scale == 0 {
		return digits, nil
	}
	return digits[:len(digits)-d.scale] + "." + digits[len(digits)-d.scale:], nil
}

func (d *decimal) Scan(src any) error {
	*d = decimal{}
	if src == nil {
		return nil
	}
	text := fmt.Sprintf("%s", src)
	whole, fraction, _ := strings.Cut(text, ".")
	n, ok := new(big.Int).SetString(whole+fraction, 10)
	if !ok {
		return fmt.Errorf("no number: %s", text)
	}
	*d = decimal{n, len(fraction)}
	return nil
}

// words is text[] with NULLs among its elements, which pq.StringArray does not take.
type words []*string

func (w words) Value() (driver.Value, error) {
	if w == nil {
		return nil, nil
	}
	list := make([]sql.NullString, len(w))
	for i, s := range w {
		if s != nil {
			list[i] = sql.NullString{String: *s, Valid: true}
		}
	}
	return pq.Array(list).Value()
}

func (w *words) Scan(src any) error {
	var list []sql.NullString
	if err := pq.Array(&list).Scan(src); err != nil {
		return err
	}
	*w = nil
	if list != nil {
		*w = make(words, len(list))
	}
	for i, s := range list {
		if s.Valid {
			(*w)[i] = &s.String
		}
	}
	return nil
}

// local is a time whose zone is the driver's.
type local struct{ at time.Time }

func (l local) Value() (driver.Value, error) { return l.at, nil }
func (l *local) Scan(src any) error          { l.at, _ = src.(time.Time); return nil }

// extreme is a row with values that a codec might bend.
type extreme struct {
	ID     int64               `db:"id"`
	Real   *float64            `db:"real"`
	Small  *float32            `db:"small"`
	Amount decimal             `db:"amount"`
	Doc    json.RawMessage     `db:"doc"`
	Raw    []byte              `db:"raw"`
	Words  words               `db:"words"`
	Tags   pq.StringArray      `db:"tags"`
	At     *time.Time          `db:"at"`
	Null   sql.NullTime        `db:"null_at"`
	Any    sql.Null[time.Time] `db:"any_at"`
	Day    *time.Time          `db:"day"`
	Local  *local              `db:"local"`
}

var extremes = model.MustTable(model.Spec[extreme, int64]{Name: "extremes", Key: "id"})

const extremesSchema = `CREATE TABLE extremes (id bigint PRIMARY KEY, real float8, small float4, amount numeric, doc jsonb, raw bytea,
	words text[], tags text[], at timestamptz, null_at timestamptz, any_at timestamptz, day date, local timestamptz)`

// A row that PostgreSQL can hold is read through a cache as it is without one, to the last bit: from the store if it can
// be stored exactly, from the database each time if not. Where the driver itself cannot read it, its error comes through.
func TestExtremeRows(t *testing.T) {
	const (
		stored    = "stored"
		returned  = "returned and not stored"
		undefined = "an error of the driver"
	)
	rows := []struct {
		column, value string
		pq, pgx       string
	}{
		{"real", "'NaN'", stored, stored},
		{"real", "'-0'", stored, stored},
		{"real", "'-Infinity'", stored, stored},
		{"real", "5e-324", stored, stored},
		{"small", "'NaN'", stored, stored},
		{"amount", "'" + strings.Repeat("9", 5000) + ".000" + strings.Repeat("7", 2000) + "'", stored, stored},
		{"amount", "-0.10", stored, stored},
		{"amount", "NULL", stored, stored},
		{"doc", `'{"b":1.0,"a":[12345678901234567890,null,"\u00fc"]}'`, stored, stored},
		{"doc", "'null'", stored, stored},
		{"doc", "NULL", stored, stored},
		{"raw", "''", stored, stored},
		{"raw", "NULL", stored, stored},
		{"words", "ARRAY['a',NULL,'','NULL','\"{,}']", stored, stored},
		{"words", "'{}'", stored, stored},
		{"words", "NULL", stored, stored},
		{"tags", "'{}'", stored, stored},
		{"tags", "NULL", stored, stored},
		{"tags", "ARRAY['a',NULL]", undefined, undefined},
		{"at", "'2024-02-29 23:59:59.123456+05:30'", stored, stored},
		{"at", "'0001-01-01 00:00:00+00'", returned, returned}, // the zero time behind a pointer, see codec
		{"at", "'9999-12-31 23:59:59.999999+00'", stored, stored},
		{"at", "'9999-12-31 23:59:59.999999-14'", returned, returned},
		{"at", "'294276-12-31 23:59:59.999999+00'", returned, returned},
		{"at", "'4713-01-01 00:00:00+00 BC'", returned, returned},
		{"at", "'infinity'", undefined, undefined},
		{"at", "'-infinity'", undefined, undefined},
		{"null_at", "'2024-02-29 23:59:59.123456+05:30'", stored, stored},
		{"null_at", "'12000-01-01 00:00:00+00'", returned, returned},
		{"null_at", "'infinity'", undefined, undefined},
		{"any_at", "'2024-02-29 23:59:59.123456+05:30'", stored, stored},
		{"any_at", "'12000-01-01 00:00:00+00'", returned, returned},
		{"day", "'2024-02-29'", stored, stored},
		{"day", "'10000-01-01'", returned, returned},
		{"day", "'infinity'", undefined, undefined},
		{"local", "'2024-02-29 23:59:59.123456+05:30'", returned, returned}, // a zone is part of a time, and is not stored
	}
	for _, name := range []string{"postgres", "pgx"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := testenv.Open(t, name, testenv.PostgresWith(t, extremesSchema).URL()+"&timezone=Asia/Kolkata")
			db := txhooks.New(conn, txhooks.Config{})
			plain := repo.New(db, extremes)
			c, err := cachedrepo.New(db, memstore.New(memstore.Config{}), cachedrepo.Config{
				Namespace: "extremes", Tables: model.Tables{extremes}, Timeout: patience, Logger: silent(),
			})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close(context.Background()) }()
			cached := cachedrepo.Wrap(c, plain)
			for i, row := range rows {
				id := int64(i + 1)
				conn.MustExec(fmt.Sprintf("INSERT INTO extremes (id, %s) VALUES (%d, %s)", row.column, id, row.value))
				want, wantErr := plain.Find(t.Context(), id)
				before := c.Stats()
				for range 3 {
					got, err := cached.Find(t.Context(), id)
					if fmt.Sprint(err) != fmt.Sprint(wantErr) || err == nil && !alike(got, want) {
						t.Errorf("%s %.40s: %+v, %v\nwithout a cache: %+v, %v", row.column, row.value, got, err, want, wantErr)
					}
				}
				after := c.Stats()
				is := stored
				switch {
				case wantErr != nil:
					is = undefined
				case after.Inexact > before.Inexact:
					is = returned
				}
				hits := map[string]uint64{stored: 2}[is]
				if asked := map[string]string{"postgres": row.pq, "pgx": row.pgx}[name]; is != asked || after.Hits-before.Hits != hits {
					t.Errorf("%s %.40s: %s, want %s; %d hits of 2; %v", row.column, row.value, is, asked, after.Hits-before.Hits, wantErr)
				}
			}
		})
	}
}

// alike is reflect.DeepEqual to the bit: NaN is NaN, 0 is not -0.
func alike(a, b extreme) bool {
	bits := func(e *extreme) (real, small uint64) {
		if e.Real != nil {
			real = math.Float64bits(*e.Real)
		}
		if e.Small != nil {
			small = uint64(math.Float32bits(*e.Small))
		}
		e.Real, e.Small = nil, nil
		return
	}
	aReal, aSmall := bits(&a)
	bReal, bSmall := bits(&b)
	return aReal == bReal && aSmall == bSmall && reflect.DeepEqual(a, b)
}

// Another transaction has inserted the row that Upsert waits for. Who reads between the two commits caches it as it was
// inserted; that entry must go, though Upsert's first look found no row.
func TestUpsertInvalidatesConcurrentInsert(t *testing.T) {
	s := newShop(t)
	c := s.cache(t, memstore.New(memstore.Config{}), cachedrepo.Config{Timeout: patience})
	r := cachedrepo.Wrap(c, s.plain)
	inserted, upserted := make(chan struct{}), make(chan error, 1)
	err := s.db.Run(t.Context(), func(ctx context.Context) error {
		_, err := s.plain.Insert(ctx, product{ID: 5000, SKU: "A-1", Name: "inserted"})
		close(inserted)
		go func() {
			upserted <- s.db.Run(context.Background(), func(ctx context.Context) error {
				_, err := s.plain.Upsert(ctx, product{ID: 5000, SKU: "A-2", Name: "upserted"}, products)
				if err != nil {
					return err
				}
				// The insert has committed, the upsert has not.
				for range 2 {
					if p, err := r.FindBy(context.Background(), bySKU.Eq("A-1")); err != nil || p.Name != "inserted" {
						return fmt.Errorf("%+v, %w", p, err)
					}
				}
				return nil
			})
		}()
		until(t, "Upsert to wait", func() bool {
			var waits bool
			return s.conn.GetContext(ctx, &waits, "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)") == nil && waits
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	<-inserted
	if err := <-upserted; err != nil {
		t.Fatal(err)
	}
	if p, err := r.FindBy(t.Context(), bySKU.Eq("A-1")); !errors.Is(err, model.ErrNotFound) {
		t.Errorf("by the value that the row was inserted with: %+v, %v", p, err)
	}
	if p, err := r.Find(t.Context(), 5000); err != nil || p.SKU != "A-2" {
		t.Errorf("%+v, %v", p, err)
	}
}

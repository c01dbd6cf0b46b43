package repo_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const schema = `
	CREATE SCHEMA shop;
	CREATE TABLE shop.products (
		id bigserial PRIMARY KEY,
		sku text NOT NULL UNIQUE,
		category_id bigint NOT NULL,
		name text NOT NULL,
		note text,
		price numeric(12,2) NOT NULL DEFAULT 0,
		made timestamptz NOT NULL DEFAULT now(),
		version integer NOT NULL DEFAULT 1,
		deleted_at timestamp,
		upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
		unknown_to_us text DEFAULT 'x'
	);
	CREATE TABLE reviews (id bigserial PRIMARY KEY, product_id bigint NOT NULL REFERENCES shop.products);
	CREATE TABLE members (
		team_id bigint, user_name text, role text NOT NULL, PRIMARY KEY (team_id, user_name)
	);
	CREATE TYPE mood AS ENUM ('sad', 'happy');
	CREATE TABLE things (
		id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
		ref uuid UNIQUE,
		tags text[] NOT NULL DEFAULT '{}',
		nums bigint[],
		doc jsonb,
		raw bytea,
		mood mood,
		size real NOT NULL DEFAULT 0,
		on_sale boolean NOT NULL DEFAULT false,
		seen timestamptz,
		local timestamp,
		small smallint NOT NULL DEFAULT 0,
		amount numeric(20,4) NOT NULL DEFAULT 0
	);
	CREATE TABLE codes (code char(5) PRIMARY KEY, text text NOT NULL);
	CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
	CREATE TABLE mails (address text COLLATE nocase PRIMARY KEY, owner text NOT NULL);
`

// product has everything that a table usually has: a version, a filter, defaults and a generated column.
type product struct {
	ID       int64     `db:"id"`
	SKU      string    `db:"sku"`
	Category int64     `db:"category_id"`
	Name     string    `db:"name"`
	Note     *string   `db:"note"`
	Price    money     `db:"price"`
	Made     time.Time `db:"made,default"`
	Version  int       `db:"version,default"`
	softly
	Upper string `db:"upper_name,readonly"`
}

type softly struct {
	Deleted sql.NullTime `db:"deleted_at"`
}

// money is a type of the user's own: hundredths, a numeric in the database.
type money int64

func (m *money) Scan(src any) error {
	var s string
	switch src := src.(type) {
	case []byte:
		s = string(src)
	case string:
		s = src
	default:
		return fmt.Errorf("a price from %T", src)
	}
	var whole, cents int64
	if _, err := fmt.Sscanf(s, "%d.%02d", &whole, &cents); err != nil {
		return err
	}
	*m = money(whole*100 + cents)
	return nil
}

// Value is a string, as for every type that database/sql has no word for.
func (m money) Value() (driver.Value, error) {
	return fmt.Sprintf("%d.%02d", m/100, m%100), nil
}

var (
	bySKU      = model.NewUnique[product, string]("sku")
	byCategory = model.NewIndex[product, int64]("category_id").OrderBy("made DESC", "name")
	products   = model.MustTable(model.Spec[product, int64]{
		Name: "shop.products", Key: "id", Version: "version", Filter: "deleted_at IS NULL",
		Indexes: model.Indexes[product]{bySKU, byCategory},
	})
)

type memberKey struct {
	Team int64  `db:"team_id"`
	User string `db:"user_name"`
}

type member struct {
	memberKey
	Role string `db:"role"`
}

var (
	byTeam  = model.NewIndex[member, int64]("team_id").OrderBy("user_name DESC", "team_id DESC")
	members = model.MustTable(model.Spec[member, memberKey]{Name: "members", Indexes: model.Indexes[member]{byTeam}})
)

type thing struct {
	ID     uuid.UUID       `db:"id"`
	Ref    *uuid.UUID      `db:"ref"`
	Tags   pq.StringArray  `db:"tags,default"`
	Nums   pq.Int64Array   `db:"nums"`
	Doc    json.RawMessage `db:"doc"`
	Raw    []byte          `db:"raw"`
	Mood   sql.NullString  `db:"mood"`
	Size   float32         `db:"size"`
	OnSale bool            `db:"on_sale"`
	Seen   *time.Time      `db:"seen"`
	Local  sql.NullTime    `db:"local"`
	Small  int16           `db:"small"`
	Amount money4          `db:"amount"`
}

type money4 string

var (
	byRef  = model.NewUnique[thing, uuid.UUID]("ref")
	bySize = model.NewIndex[thing, bool]("on_sale").OrderBy("size DESC", "amount", "small DESC")
	things = model.MustTable(model.Spec[thing, uuid.UUID]{
		Name: "things", Key: "id", Indexes: model.Indexes[thing]{byRef, bySize},
	})
)

// env is a database of the test's own, reached with one of the drivers.
type env struct {
	*testing.T
	ctx     context.Context
	conn    *sqlx.DB
	db      *txhooks.DB
	changes *recorder
}

// onBoth runs a test with lib/pq and with pgx.
func onBoth(t *testing.T, test func(e *env)) {
	t.Helper()
	onEach(t, []string{"pq", "pgx"}, test)
}

func onEach(t *testing.T, drivers []string, test func(e *env)) {
	t.Helper()
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			test(newEnv(t, driver))
		})
	}
}

func newEnv(t *testing.T, driver string) *env {
	t.Helper()
	pg := testenv.PostgresWith(t, schema)
	e := &env{T: t, ctx: t.Context()}
	switch driver {
	case "pq":
		e.conn = pg.Open(t)
	case "pgx":
		e.conn = pg.OpenPgx(t)
	case "pq binary":
		e.conn = testenv.Open(t, "postgres", pg.URL()+"&binary_parameters=yes")
	}
	e.db = txhooks.New(e.conn, txhooks.Config{})
	e.changes = record(e.db)
	return e
}

func (e *env) ok(err error) {
	e.Helper()
	if err != nil {
		e.Fatal(err)
	}
}

func (e *env) exec(statement string, args ...any) {
	e.Helper()
	_, err := e.conn.ExecContext(e.ctx, statement, args...)
	e.ok(err)
}

// is fails the test unless err matches target and says each of the words.
func (e *env) is(err, target error, words ...string) {
	e.Helper()
	if err == nil || (target != nil && !errors.Is(err, target)) {
		e.Errorf("want %v, got %v", target, err)
		return
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			e.Errorf("%q lacks %q", err, w)
		}
	}
}

// changed fails the test unless exactly these changes were reported since the last call: "before -> after" by image.
func (e *env) changed(want ...string) {
	e.Helper()
	var got []string
	for _, c := range e.changes.take() {
		got = append(got, fmt.Sprintf("%s -> %s", image(c.Before), image(c.After)))
	}
	if !slices.Equal(got, want) {
		e.Errorf("changes:\n got %q\nwant %q", got, want)
	}
}

func image(img model.Image) string {
	words := make([]string, len(img))
	for i, d := range img {
		words[i] = d.String()
	}
	return strings.Join(words, "|")
}

func must[V any](v V, err error) V {
	if err != nil {
		panic(err)
	}
	return v
}

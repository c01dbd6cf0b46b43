package cachedrepo_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/lib/pq"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/memstore"
	"github.com/asidego/aside/model"
)

type fieldOf[V any] struct {
	ID int64 `db:"id"`
	V  V     `db:"v"`
}

// declared is the error of a table with a field of type V: of its declaration, or of the cache.
func declared[V any](s *shop) error {
	table, err := model.NewTable(model.Spec[fieldOf[V], int64]{Name: "things", Key: "id"})
	if err != nil {
		return err
	}
	c, err := cachedrepo.New(s.db, memstore.New(memstore.Config{}), cachedrepo.Config{Namespace: "fields", Tables: model.Tables{table}, Logger: silent()})
	if err == nil {
		_ = c.Close(context.Background())
	}
	return err
}

// unvalued can be read and not written.
type unvalued struct{ n int64 }

func (u *unvalued) Scan(src any) error { u.n, _ = src.(int64); return nil }

type code string

// What can be a field is decided when the table and the cache are made, and docs/types.md says the same.
func TestFieldTypes(t *testing.T) {
	s := newShop(t)
	doc, err := os.ReadFile("../docs/types.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := string(doc)[strings.Index(string(doc), "\n## Fields"):strings.Index(string(doc), "\n### Times")]
	for _, tt := range []struct {
		named   string // in the document
		err     error
		refusal string // empty: accepted
	}{
		{"`bool`", declared[bool](s), ""},
		{"`string`", declared[string](s), ""},
		{"`int64`", declared[int64](s), ""},
		{"`uint64`", declared[uint64](s), ""},
		{"`float64`", declared[float64](s), ""},
		{"`type SKU string`", declared[code](s), ""},
		{"`[]byte`", declared[[]byte](s), ""},
		{"`json.RawMessage`", declared[json.RawMessage](s), ""},
		{"`time.Time`", declared[time.Time](s), ""},
		{"pointers", declared[*time.Time](s), ""},
		{"pointers", declared[*code](s), ""},
		{"`sql.NullString`", declared[sql.NullString](s), ""},
		{"`sql.Null[T]`", declared[sql.Null[time.Time]](s), ""},
		{"`uuid.UUID`", declared[uuid.UUID](s), ""},
		{"`pq.StringArray`", declared[pq.StringArray](s), ""},
		{"`pq.ByteaArray`", declared[pq.ByteaArray](s), ""},
		{"`uuid.NullUUID`", declared[uuid.NullUUID](s), ""},
		{"decimals", declared[decimal](s), ""},
		{"JSON documents", declared[labels](s), ""},
		{"`any`", declared[any](s), "fieldOf[interface {}].V: an interface does not say what it holds: use a concrete type"},
		{"`error`", declared[error](s), ".V: an interface does not say what it holds"},
		{"`sql.Null[any]`", declared[sql.Null[any]](s), "table things: column v: a sql.Null[interface {}] does not say what it holds"},
		{"`[]string`", declared[[]string](s), ".V: []string cannot be scanned: use a type such as pq.StringArray"},
		{"`[]time.Time`", declared[[]time.Time](s), ".V: []time.Time cannot be scanned"},
		{"`map`", declared[map[string]string](s), ".V: map[string]string cannot be scanned: it is no basic type and no sql.Scanner"},
		{"`struct`", declared[struct{ X int }](s), "cannot be scanned: it is no basic type and no sql.Scanner"},
		{"`complex128`", declared[complex128](s), ".V: complex128 cannot be scanned"},
		{"`chan`", declared[chan int](s), ".V: chan int cannot be scanned"},
		{"`func`", declared[func()](s), ".V: func() cannot be scanned"},
		{"`**T`", declared[**string](s), "cannot be scanned"},
		{"without a `driver.Valuer`", declared[unvalued](s), "is a sql.Scanner without a driver.Valuer: it can be read but not written"},
		{"`sql.RawBytes`", declared[sql.RawBytes](s), "table things: column v: a sql.RawBytes is the driver's memory: use []byte"},
	} {
		var row string
		for line := range strings.Lines(fields) {
			if kind, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|"); strings.Contains(kind, tt.named) {
				row = line
				break
			}
		}
		switch says := "| accepted |"; {
		case tt.refusal == "" && tt.err != nil:
			t.Errorf("%s: %v", tt.named, tt.err)
		case tt.refusal != "" && (tt.err == nil || !strings.Contains(tt.err.Error(), tt.refusal) || !strings.Contains(tt.err.Error(), "things")):
			t.Errorf("%s: %v, want %q", tt.named, tt.err, tt.refusal)
		default:
			if tt.refusal != "" {
				says = "| refused |"
			}
			if !strings.Contains(row, says) {
				t.Errorf("docs/types.md does not say %s of %s: %q", says, tt.named, row)
			}
		}
	}
}

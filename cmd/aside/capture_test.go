package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/migrations"
)

// From the first migration to a new index and a new partition, each found by -check and mended by what is written.
func TestCapture(t *testing.T) {
	pg := testenv.PostgresWith(t, `CREATE TABLE orders (id bigint, number text, PRIMARY KEY (id)) PARTITION BY RANGE (id);
		CREATE TABLE orders_1 PARTITION OF orders FOR VALUES FROM (0) TO (100); CREATE TABLE lines (id bigint PRIMARY KEY, order_id bigint)`)
	if err := migrations.Apply(t.Context(), pg.URL()); err != nil {
		t.Fatal(err)
	}
	const head = "package shop\n\nimport m \"github.com/asidego/aside/model\"\n\ntype Order struct {\n\tID int64 `db:\"id\"`\n\tNumber string `db:\"number\"`\n}\n\n" +
		"type Line struct {\n\tID int64 `db:\"id\"`\n\tOrder int64 `db:\"order_id\"`\n}\n\n" +
		"var Lines = m.MustTable(m.Spec[Line, int64]{Name: \"lines\", Key: \"id\"})\n"
	module(t, map[string]string{
		"shop/shop.go":                 head + "var Orders = m.MustTable(m.Spec[Order, int64]{Name: \"orders\", Key: \"id\"})\n",
		"migrations/0007_lines.up.sql": "", "migrations/0007_lines.down.sql": "", "migrations/README": "",
	})
	t.Setenv("DATABASE_URL", pg.URL())
	db := pg.Open(t)
	apply := func(name string) {
		t.Helper()
		db.MustExec(read(t, filepath.Join("migrations", name)))
	}
	steps := []struct {
		what string
		do   func()
		args []string
		code int
		says []string
	}{
		{"nothing", nil, []string{"-check"}, 1, []string{"warn not-captured lines", "warn not-captured orders"}},
		{"nothing", nil, []string{"-tables", "orders", "-dir", "migrations"}, 0, []string{"0008_aside_capture."}},
		{"a new index and a new partition", func() {
			apply("0008_aside_capture.up.sql")
			db.MustExec("CREATE TABLE orders_2 PARTITION OF orders FOR VALUES FROM (100) TO (200)")
			text := head + "var Orders = m.MustTable(m.Spec[Order, int64]{Name: \"orders\", Key: \"id\", Indexes: m.Indexes[Order]{m.NewIndex[Order, string](\"number\")}})\n"
			if err := os.WriteFile("shop/shop.go", []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}, []string{"-check", "-tables", "orders"}, 1, []string{"warn capture-stale orders.orders:", "column number", "warn capture-partition orders.orders_2"}},
		{"a new index", nil, []string{"-dir", "migrations"}, 0, []string{"0009_aside_capture."}},
		{"applied again", func() { apply("0009_aside_capture.up.sql") }, []string{"-check"}, 0, []string{"nothing found"}},
		{"nothing to do", nil, nil, 0, []string{"nothing to do"}},
		{"no such table", nil, []string{"-tables", "order"}, 2, []string{`-tables: no table "order" is declared`}},
		{"printed", func() { apply("0008_aside_capture.down.sql") }, nil, 0, []string{"SELECT aside_capture('orders', ARRAY['id', 'number']);\n"}},
	}
	for _, s := range steps {
		if s.do != nil {
			s.do()
		}
		code, out, said := aside(t, append(append([]string{"capture"}, s.args...), "./...")...)
		for _, part := range s.says {
			if code != s.code || !strings.Contains(out+said, part) {
				t.Errorf("%s, %q: status %d, %s%s\nwant %d, %q", s.what, s.args, code, out, said, s.code, part)
			}
		}
	}
	if text := read(t, "migrations/0009_aside_capture.down.sql"); !strings.Contains(text, "SELECT aside_uncapture('lines');\n-- orders was captured before") {
		t.Error(text)
	}
}

func TestNextVersion(t *testing.T) {
	now := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, want := range map[string]string{
		"":                          "0001",
		"7_x.up.sql":                "8",
		"000099_x.down.sql":         "000100",
		"9_x.up.sql":                "10",
		"20250101000000_x.up.sql":   "20260203040506",
		"20270101000000_x.up.sql":   "20270101000001",
		"README.up.sql":             "0001",
		"0003_x.sql":                "0001",
		"1700000000_seconds.up.sql": "1700000001",
	} {
		dir := t.TempDir()
		if name != "" {
			if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := nextVersion(dir, now); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", name, got, err, want)
		}
	}
}

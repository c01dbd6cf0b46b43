package places

import (
	"slices"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo/check"
	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestMigrateAndLoad(t *testing.T) {
	pg := testenv.Postgres(t)
	for range 2 { // the second finds nothing to do
		if err := Migrate(t.Context(), pg.URL()); err != nil {
			t.Fatal(err)
		}
	}
	conn := pg.Open(t)
	const some = 5_000 // all of them take too long with the race detector
	var reports []int
	if err := Load(t.Context(), conn, some, func(done int) { reports = append(reports, done) }); err != nil {
		t.Fatal(err)
	}
	if want := []int{some}; !slices.Equal(reports, want) {
		t.Errorf("progress said %v, want %v", reports, want)
	}
	var cities, slugs, tiranas int
	err := conn.QueryRow(`SELECT count(*), count(DISTINCT slug), count(*) FILTER (WHERE name = 'Tirana') FROM cities`).
		Scan(&cities, &slugs, &tiranas)
	if err != nil {
		t.Fatal(err)
	}
	if cities != some || slugs != cities || tiranas != 1 {
		t.Errorf("%d cities, %d slugs, %d Tiranas, want %d, as many, and 1", cities, slugs, tiranas, some)
	}
	if err := Load(t.Context(), conn, some, func(int) {}); err == nil {
		t.Error("a second Load found the same ids and did not fail")
	}
}

func TestSlug(t *testing.T) {
	for _, test := range []struct {
		country, name string
		id            int64
		want          string
	}{
		{"DE", "Berlin", 43314, "de-berlin-43314"},
		{"FR", "Sainte-Foy-lès-Lyon", 7, "fr-sainte-foy-lès-lyon-7"},
		{"US", "Winston–Salem (old)", 8, "us-winston-salem-old-8"},
		{"XK", "?", 9, "xk-9"},
	} {
		if got := Slug(test.country, test.name, test.id); got != test.want {
			t.Errorf("Slug(%q, %q, %d) = %q, want %q", test.country, test.name, test.id, got, test.want)
		}
	}
}

// What the tables declare is what the migrations make.
func TestCheck(t *testing.T) {
	pg := testenv.Postgres(t)
	if err := Migrate(t.Context(), pg.URL()); err != nil {
		t.Fatal(err)
	}
	list, err := check.Tables(t.Context(), pg.Open(t), Tables, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range list {
		if f.Code != "lock-timeout" { // the server's default
			t.Error(f)
		}
	}
	if len(list) != 1 || !strings.HasPrefix(list[0].String(), "note ") {
		t.Errorf("%v", list)
	}
}

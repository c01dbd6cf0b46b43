package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/examples/places/places"
	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestEveryCacheServesAndEnds(t *testing.T) {
	pg := testenv.Postgres(t)
	if err := places.Migrate(t.Context(), pg.URL()); err != nil {
		t.Fatal(err)
	}
	fill(t, pg.Open(t))
	redis := testenv.NewRedis(t)
	for _, cache := range []string{cacheOff, cacheMemory, cacheRedis} {
		t.Run(cache, func(t *testing.T) {
			s := settings{addr: "127.0.0.1:0", database: pg.URL(), cache: cache, redis: "redis://" + redis.Addr(), load: true}
			ctx, cancel := context.WithCancel(t.Context())
			addr, ended := make(chan string, 1), make(chan error, 1)
			go func() {
				ended <- run(ctx, s, slog.New(slog.DiscardHandler), func(a string) { addr <- a })
			}()
			var base string
			select {
			case a := <-addr:
				base = "http://" + a
			case err := <-ended:
				t.Fatal(err)
			}
			for range 2 {
				if body := get(t, base+"/cities/1"); !strings.Contains(body, "Canillo") {
					t.Error(body)
				}
			}
			stats := get(t, base+"/stats")
			if cached := strings.Contains(stats, `"Hits":1`); cached != (cache != cacheOff) {
				t.Errorf("stats of -cache=%s: %s", cache, stats)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSettingsThatCannotWork(t *testing.T) {
	pg := testenv.Postgres(t)
	for _, test := range []struct {
		s    settings
		want string
	}{
		{settings{cache: cacheOff}, "DATABASE_URL"},
		{settings{database: pg.URL(), cache: "disk"}, "-cache=disk"},
		{settings{database: pg.URL(), cache: cacheRedis}, "REDIS_URL"},
		{settings{database: pg.URL(), cache: cacheRedis, redis: "http://x"}, "-redis"},
		{settings{database: pg.URL(), cache: cacheOff, addr: "nowhere"}, "nowhere"},
	} {
		err := run(t.Context(), test.s, slog.New(slog.DiscardHandler), func(string) {})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want an error about %s", test.s, err, test.want)
		}
	}
}

func fill(t *testing.T, conn *sqlx.DB) {
	t.Helper()
	if err := places.Load(t.Context(), conn, 10, func(int) {}); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	defer http.DefaultClient.CloseIdleConnections()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

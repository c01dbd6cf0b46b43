package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestQuickStartCountsWhatItSays(t *testing.T) {
	for _, where := range []string{"memory", "redis"} {
		t.Run(where, func(t *testing.T) {
			t.Setenv("DATABASE_URL", testenv.Postgres(t).URL())
			t.Setenv("REDIS_URL", "")
			if where == "redis" {
				t.Setenv("REDIS_URL", "redis://"+testenv.NewRedis(t).Addr())
			}
			var out bytes.Buffer
			if err := show(t.Context(), &out); err != nil {
				t.Fatalf("%v\n%s", err, &out)
			}
			if got := strings.Count(out.String(), "statements:"); got != 6 {
				t.Errorf("%d steps, want 6:\n%s", got, &out)
			}
		})
	}
}

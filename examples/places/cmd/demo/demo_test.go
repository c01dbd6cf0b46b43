package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) {
	if isWorker() { // part 3 starts this binary again
		os.Exit(workerMain())
	}
	testenv.Main(m)
}

// shared has the demos of this process use one PostgreSQL; the Redis is theirs to kill.
func shared(t *testing.T) {
	t.Setenv("ASIDE_TEST_POSTGRES", testenv.Postgres(t).URL())
	t.Setenv("ASIDE_TEST_REDIS", "")
}

func TestQuickDemoKeepsItsPromises(t *testing.T) {
	shared(t)
	var out bytes.Buffer
	if err := run(t.Context(), options{quick: true, seed: 1}, &out); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"PostgreSQL alone", "with Aside on Redis", string(kindNaive), "Every count"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the output", want)
		}
	}
	t.Logf("\n%s", &out)
}

// The check for stale reads is worth something only if it can fail.
func TestNaiveCacheBreaksThePromise(t *testing.T) {
	shared(t)
	var err error
	for range 5 { // a second may be too short for it on a slow machine
		err = run(t.Context(), options{quick: true, naive: true, seed: 1}, io.Discard)
		if err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "stale") {
		t.Errorf("%v, want an error about stale reads", err)
	}
}

func TestDemoEndsWithItsContext(t *testing.T) {
	shared(t)
	redis := testenv.NewRedis(t)
	t.Setenv("ASIDE_TEST_REDIS", "redis://"+redis.Addr())
	ctx, cancel := context.WithCancel(t.Context())
	err := run(ctx, options{quick: true, seed: 1}, stopAt{"round 1 of 3, with Aside", cancel})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	client := redis.Client(t)
	if left, err := client.DBSize(t.Context()).Result(); err != nil || left != 0 {
		t.Errorf("%d keys left in a Redis that is not ours (%v)", left, err)
	}
}

// stopAt cancels when something is printed.
type stopAt struct {
	text   string
	cancel func()
}

func (s stopAt) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(s.text)) {
		s.cancel()
	}
	return len(p), nil
}

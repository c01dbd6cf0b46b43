package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo/store"
)

// scan: every key that is there all the time is listed, whatever it holds and however it is spelled, and no other's.
func scan(t *testing.T, h Harness) {
	s, ok := h.Store.(store.Scanner)
	if !ok {
		t.Skip("this store cannot list its keys")
	}
	base := h.key()
	under := []string{base + ":", base + `*?[a-c]\^:`, base + "{x}:", base + "é\x00:"}
	want := map[string]map[string]bool{}
	for _, prefix := range under {
		want[prefix] = map[string]bool{}
		n := 7
		if prefix == under[0] {
			n = 2500 // several pages
		}
		var acquire, fill []store.Op
		for i := range n {
			key := fmt.Sprintf("%s%d", prefix, i)
			want[prefix][key] = true
			acquire = append(acquire, store.Op{Kind: store.Acquire, Key: key, Token: tok(1), TTL: long})
			if i%2 == 0 {
				fill = append(fill, store.Op{Kind: store.Fill, Key: key, Token: tok(1), Value: []byte("v"), TTL: long})
			}
		}
		for _, op := range []store.Op{
			{Kind: store.Intend, Key: prefix + "intent", Token: tok(1), TTL: long},
			{Kind: store.Stamps, Key: prefix + "generation", Token: tok(1), TTL: long},
		} {
			want[prefix][op.Key] = true
			acquire = append(acquire, op)
		}
		h.do(t, acquire...)
		h.do(t, fill...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), expect)
	defer cancel()
	for _, prefix := range under {
		got := map[string]bool{}
		first := true
		if err := s.Scan(ctx, prefix, func(keys []string) error {
			for _, key := range keys {
				if !strings.HasPrefix(key, prefix) {
					t.Errorf("%q is listed under %q", key, prefix)
				}
				got[key] = true
			}
			if first { // writing meanwhile is fine, and a value that takes a lease's place is listed all the same
				first = false
				for i := 1; i < 7; i += 2 {
					h.do(t, store.Op{Kind: store.Fill, Key: fmt.Sprintf("%s%d", prefix, i), Token: tok(1), Value: []byte("v"), TTL: long})
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for key := range want[prefix] {
			if !got[key] {
				t.Errorf("%q is not listed", key)
			}
		}
		if len(got) != len(want[prefix]) {
			t.Errorf("under %q %d keys are listed, want %d", prefix, len(got), len(want[prefix]))
		}
	}
	enough := errors.New("enough")
	calls := 0
	if err := s.Scan(ctx, under[0], func([]string) error { calls++; return enough }); !errors.Is(err, enough) || calls != 1 {
		t.Errorf("yield's error: %v after %d calls", err, calls)
	}
	cancel()
	if err := s.Scan(ctx, under[0], func([]string) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("ctx is done: %v", err)
	}
}

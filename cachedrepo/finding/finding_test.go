package finding

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"
)

func sample() List {
	return List{
		{Code: NoIndex, Severity: Note, Table: "products", Object: "category_id", Text: "no index"},
		{Code: KeyEquality, Severity: Refuse, Table: "users", Object: "email", Text: "citext", Advice: "give Canonical"},
		{Code: RedisPolicy, Severity: Warn, Object: "maxmemory-policy", Text: "allkeys-lru"},
		{Code: Cascade, Severity: Refuse, Table: "orders", Object: "orders_user_fkey", Text: "ON DELETE CASCADE"},
		{Code: Server, Severity: Warn, Text: "old"},
	}
}

func TestTextIsSortedWhateverTheOrder(t *testing.T) {
	const want = `refuse cascade orders.orders_user_fkey: ON DELETE CASCADE
refuse key-equality users.email: citext
    give Canonical
warn server: old
warn redis-policy maxmemory-policy: allkeys-lru
note no-index products.category_id: no index
2 refused, 2 warnings, 1 note
`
	for range 20 {
		l := sample()
		rand.Shuffle(len(l), func(i, j int) { l[i], l[j] = l[j], l[i] })
		var b strings.Builder
		if err := l.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Fatalf("got:\n%swant:\n%s", b.String(), want)
		}
	}
}

func TestJSON(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var back List
	if err := json.Unmarshal([]byte(b.String()), &back); err != nil {
		t.Fatal(err)
	}
	if len(back) != 5 || back[0].Code != Cascade || back[0].Severity != Refuse || back[4].Severity != Note {
		t.Errorf("%s", b.String())
	}
	b.Reset()
	if err := List(nil).WriteJSON(&b); err != nil || strings.TrimSpace(b.String()) != "[]" {
		t.Errorf("an empty list is %q, %v", b.String(), err)
	}
	if got := (List{}).Summary(); got != "nothing found" {
		t.Error(got)
	}
}

func TestAllow(t *testing.T) {
	l := append(sample(), Finding{Code: Recovery, Severity: Refuse, Text: "standby"})
	allow := Allow{"cascade:orders", "key-equality:products", "recovery"}
	if err := allow.Check(); err != nil {
		t.Fatal(err)
	}
	got := allow.Apply(l)
	if got.Count(Refuse) != 1 || !got.Refused() {
		t.Errorf("%v", got)
	}
	if l.Count(Refuse) != 3 {
		t.Error("Apply changed the list that it was given")
	}
	if err := (Allow{"cascades:orders"}).Check(); err == nil || !strings.Contains(err.Error(), "cascades") {
		t.Errorf("a misspelt code: %v", err)
	}
}

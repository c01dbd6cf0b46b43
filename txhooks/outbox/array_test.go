package outbox

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/asidego/aside/internal/testenv"
)

// What PostgreSQL writes for an array of texts is read as what it was.
func TestRowsOfArray(t *testing.T) {
	t.Parallel()
	db := testenv.Postgres(t).Open(t)
	text := rapid.StringMatching(`[\x01-\x{2FF}]{0,4}|NULL|null|\{\}|",\\|`)
	rapid.Check(t, func(r *rapid.T) {
		n, width := rapid.IntRange(1, 3).Draw(r, "rows"), rapid.IntRange(1, 3).Draw(r, "columns")
		var want rows
		for range n {
			var row []*string
			for range width {
				if s := text.Draw(r, "value"); rapid.IntRange(0, 4).Draw(r, "null") == 0 {
					row = append(row, nil)
				} else {
					row = append(row, &s)
				}
			}
			want = append(want, row)
		}
		list, err := json.Marshal([][]*string(want))
		if err != nil {
			r.Fatal(err)
		}
		var array string
		if err := db.Get(&array, `SELECT to_jsonb((SELECT array_agg(v ORDER BY n) FROM (
			SELECT n, ARRAY(SELECT e #>> '{}' FROM jsonb_array_elements(row) WITH ORDINALITY e (e, m) ORDER BY m) AS v
			FROM jsonb_array_elements($1::text::jsonb) WITH ORDINALITY q (row, n)) w)::text)::text`, string(list)); err != nil {
			r.Fatal(err)
		}
		var got rows
		if err := json.Unmarshal([]byte(array), &got); err != nil || !slices.EqualFunc(got, want, sameRow) {
			r.Fatalf("%s: %v", array, err)
		}
	})
}

func sameRow(a, b []*string) bool {
	return slices.EqualFunc(a, b, func(a, b *string) bool { return (a == nil) == (b == nil) && (a == nil || *a == *b) })
}

func TestRowsOfWhatIsNoArray(t *testing.T) {
	if got, err := rowsOfArray("{}"); len(got) > 0 || err != nil {
		t.Errorf("empty: %v, %v", got, err)
	}
	for _, bad := range []string{
		"", "{", "1", "{1}", "{{", "{{1", "{{1}", "{{1},", "{{1}}x", "{{}}", "{{1,}}", `{{"}}`, `{{"1}}`, `{{"1"x}}`, `{{1"2"}}`, `{{"\`, "{{1}{2}}", "[0:1]={{1}}",
	} {
		if got, err := rowsOfArray(bad); err == nil {
			t.Errorf("%s: %v", bad, got)
		}
	}
	var r rows
	for _, bad := range []string{`"{{1}"`, `7`, `[1]`, `{"a":1}`} {
		if err := json.Unmarshal([]byte(bad), &r); err == nil {
			t.Errorf("%s was read", bad)
		}
	}
	if err := json.Unmarshal([]byte("["+strings.Repeat(`["1",null],`, 3)+`["2"]]`), &r); err != nil || len(r) != 4 || r[0][1] != nil {
		t.Errorf("%v, %v", r, err)
	}
}

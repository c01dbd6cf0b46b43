package finding

import (
	"os"
	"regexp"
	"testing"
)

// The table in docs/check.md has each code, with its severity, in the order of Codes, and no other.
func TestCodesAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (\\w+) \\| .+ \\|$").FindAllStringSubmatch(string(text), -1)
	for i, c := range Codes {
		if i >= len(rows) || rows[i][1] != c.Name || rows[i][2] != c.Severity.String() {
			t.Fatalf("row %d of the table is %q, want %s, %s", i+1, rows[min(i, len(rows)-1)], c.Name, c.Severity)
		}
	}
	if len(rows) != len(Codes) {
		t.Errorf("%d rows for %d codes: %q", len(rows), len(Codes), rows[len(Codes):])
	}
}

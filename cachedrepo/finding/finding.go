// Package finding says what a check of a database, a store and their tables has found. Checks of every part of the library
// speak in it, so it imports the standard library only.
package finding

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
)

// Severity tells what follows from a finding.
type Severity uint8

const (
	// Note is worth knowing and costs nothing in correctness.
	Note Severity = iota
	// Warn is something that caching cannot see or that may surprise; it is the reader's to judge.
	Warn
	// Refuse makes cached reads wrong or writes fail: what it concerns is not cached until it is gone or allowed by name.
	Refuse
)

var severities = [...]string{Note: "note", Warn: "warn", Refuse: "refuse"}

// String is "note", "warn" or "refuse".
func (s Severity) String() string {
	if int(s) < len(severities) {
		return severities[s]
	}
	return fmt.Sprintf("Severity(%d)", uint8(s))
}

// MarshalText is String.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Severity) UnmarshalText(text []byte) error {
	i := slices.Index(severities[:], string(text))
	if i < 0 {
		return fmt.Errorf("finding: unknown severity %q", text)
	}
	*s = Severity(i)
	return nil
}

// Finding is one thing that a check has found.
type Finding struct {
	Code     string   `json:"code"` // one of Codes
	Severity Severity `json:"severity"`
	Table    string   `json:"table,omitempty"`  // as in model.Spec.Name; empty: the database, or the store
	Object   string   `json:"object,omitempty"` // column, index, constraint, trigger or setting; empty: the table as a whole
	Text     string   `json:"text"`             // what is so, in one line
	Advice   string   `json:"advice,omitempty"` // what to do, in one line
}

// String is "refuse key-equality products.sku: text", without what is empty.
func (f Finding) String() string {
	s := f.Severity.String() + " " + f.Code
	if at := f.At(); at != "" {
		s += " " + at
	}
	return s + ": " + f.Text
}

// At is "table", "table.object" or "object", whichever is known; empty if neither is.
func (f Finding) At() string {
	if f.Table != "" && f.Object != "" {
		return f.Table + "." + f.Object
	}
	return f.Table + f.Object
}

// List is what a check has found. Sort puts it in the order in which it is printed.
type List []Finding

// Refused tells whether any finding refuses.
func (l List) Refused() bool { return l.Count(Refuse) > 0 }

// Count counts the findings of a severity.
func (l List) Count(s Severity) int {
	n := 0
	for _, f := range l {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// Sort puts what refuses first, then warnings, then notes; within these by table, object and code. The order depends on
// nothing else, so that two runs over the same database print the same.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(b.Severity, a.Severity),
			cmp.Compare(a.Table, b.Table),
			cmp.Compare(a.Object, b.Object),
			cmp.Compare(a.Code, b.Code),
			cmp.Compare(a.Text, b.Text),
		)
	})
}

// MarshalJSON writes [] for an empty list, which readers of JSON expect rather than null.
func (l List) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]Finding(l))
}

package finding

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
)

// WriteText prints a sorted copy of the list for people: two lines a finding and a summary.
func (l List) WriteText(w io.Writer) error {
	var b strings.Builder
	sorted := slices.Clone(l)
	sorted.Sort()
	for _, f := range sorted {
		fmt.Fprintln(&b, f)
		if f.Advice != "" {
			fmt.Fprintf(&b, "    %s\n", f.Advice)
		}
	}
	fmt.Fprintln(&b, l.Summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteJSON prints a sorted copy of the list as one indented array.
func (l List) WriteJSON(w io.Writer) error {
	sorted := slices.Clone(l)
	sorted.Sort()
	text, err := json.MarshalIndent(sorted, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// Summary is "2 refused, 1 warning, 3 notes", or "nothing found".
func (l List) Summary() string {
	var parts []string
	for _, p := range []struct {
		severity  Severity
		one, many string
	}{{Refuse, "refused", "refused"}, {Warn, "warning", "warnings"}, {Note, "note", "notes"}} {
		switch n := l.Count(p.severity); n {
		case 0:
		case 1:
			parts = append(parts, "1 "+p.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, p.many))
		}
	}
	if parts == nil {
		return "nothing found"
	}
	return strings.Join(parts, ", ")
}

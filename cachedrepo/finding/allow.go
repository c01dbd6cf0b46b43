package finding

import (
	"fmt"
	"slices"
	"strings"
)

// Allow turns refusals that somebody has decided to live with into warnings. Each entry is "code:table", or "code" for
// findings that are about no table.
type Allow []string

// Check returns an error for an entry whose code no finding has.
func (a Allow) Check() error {
	for _, entry := range a {
		code, _, _ := strings.Cut(entry, ":")
		if !slices.ContainsFunc(Codes, func(c Code) bool { return c.Name == code }) {
			return fmt.Errorf("finding: %q is not allowed: there is no finding %q", entry, code)
		}
	}
	return nil
}

// Apply returns a copy of the list in which what is allowed only warns.
func (a Allow) Apply(l List) List {
	l = slices.Clone(l)
	for i := range l {
		f := &l[i]
		entry := f.Code
		if f.Table != "" {
			entry += ":" + f.Table
		}
		if f.Severity == Refuse && slices.Contains(a, entry) {
			f.Severity = Warn
			f.Text += " (allowed)"
		}
	}
	return l
}

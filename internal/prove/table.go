package main

import (
	"bytes"
	"fmt"
	"strings"
)

const preface = `# Proof: what fails without which rule

<!-- Written by go generate ./internal/prove; its rules_*.go say the same to the program. -->

Each rule was taken out of the code as it says here, and each test named beside it failed. ` + "`make prove`" + ` does that again, for all of them
or with ` + "`RULE=regexp`" + ` for some: it builds the tests on a changed copy of the sources (your files are left alone) and expects them to fail.
` + "`make test`" + ` checks that what would be replaced is still there, once, and that the tests exist.

The same rules as a model: ` + "`cachedrepo/internal/modelcheck`" + ` searches all interleavings within bounds, and ` + "`TestHoles`" + ` there finds the
histories that each missing rule allows. Of what is [as it should be under faults](faults.md) the [soak](soak.md) is the other half.

*From* says where the rule comes from: a history of [protocol.md](protocol.md) or a row of [hazards.md](hazards.md).
`

// table is docs/proof.md.
func table() []byte {
	var b bytes.Buffer
	b.WriteString(preface)
	for _, a := range rules {
		if len(a.rules) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n| rule | from | how it was removed | tests that fail |\n|---|---|---|---|\n", a.title)
		for _, r := range a.rules {
			var tests []string
			for _, t := range r.Tests {
				tests = append(tests, "`"+t+"`")
			}
			fmt.Fprintf(&b, "| %s (`%s`) | %s | %s | %s |\n", r.Says, r.Name, r.Why, r.Removed, strings.Join(tests, ", "))
		}
	}
	return b.Bytes()
}

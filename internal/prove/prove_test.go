package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../.."

var name = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// What the rules name is there: each piece of code once, each test, each in
// words that a table can hold.
func TestRules(t *testing.T) {
	seen := map[string]bool{}
	for _, a := range rules {
		for _, r := range a.rules {
			if seen[r.Name] || !name.MatchString(r.Name) {
				t.Errorf("%q: no name, or that of another", r.Name)
			}
			seen[r.Name] = true
			for _, text := range []string{r.Why, r.Says, r.Removed} {
				if text == "" || strings.ContainsAny(text, "|\n") {
					t.Errorf("%s: %q cannot be in a table", r.Name, text)
				}
			}
			if len(r.Edits) == 0 || len(r.Tests) == 0 {
				t.Errorf("%s: %d edits, %d tests", r.Name, len(r.Edits), len(r.Tests))
			}
			texts, err := r.mutated(root)
			if err != nil {
				t.Error(err)
			}
			for path := range texts {
				if strings.HasSuffix(path, "_test.go") {
					t.Errorf("%s: %s is a test", r.Name, path)
				}
			}
			for _, test := range r.Tests {
				if !exists(t, r.Package, test) {
					t.Errorf("%s: %s has no %s", r.Name, r.Package, test)
				}
			}
		}
	}
}

func exists(t *testing.T, pkg, test string) bool {
	t.Helper()
	function, _, _ := strings.Cut(test, "/")
	files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pkg), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("\nfunc "+function+"(")) {
			return true
		}
	}
	return false
}

// A rule that tests do not miss is reported, a build that fails is no proof,
// and neither is a test that did not run.
func TestTry(t *testing.T) {
	edit := func(old, replacement string) []Edit {
		return []Edit{{"internal/loopback/loopback.go", old, replacement}}
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	const ports = `"127.0.0.1:%d", lowest+`
	const listens = "TestListenStaysBelowEphemeralPorts"
	for name, c := range map[string]struct {
		edits []Edit
		tests []string
		want  string
	}{
		"missed":     {edit(ports, `"127.0.0.1:%d", 20000+`), []string{listens}, ""},
		"not missed": {edit("tries   = 200", "tries   = 100"), []string{listens}, "passed: " + listens},
		"no build":   {edit("package loopback\n\n", "package\n\n"), []string{listens}, "does not build"},
		"no test":    {edit(ports, `"127.0.0.1:%d", 20000+`), []string{listens, "TestNone"}, "passed: TestNone"},
		"gone":       {edit("not in the file", ""), []string{listens}, "0 times"},
		"ambiguous":  {edit("lowest", ""), []string{listens}, "not once"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := try(t.Context(), absolute, Rule{Edits: c.edits, Package: "./internal/loopback", Tests: c.tests}, false)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want %q", err, c.want)
			}
		})
	}
}

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A Rule is one that somebody could take out of the code, and the tests that
// fail if somebody does.
type Rule struct {
	// Name is unique: lower case, words joined by "-".
	Name string
	// Why names where the rule comes from: "history 4", "hazard 12", "2c".
	Why string
	// Says is the rule, in one sentence.
	Says string
	// Removed says in a few words what the edits do.
	Removed string
	Edits   []Edit
	// Package is that of the tests, as "./cachedrepo".
	Package string
	// Tests are those that must fail, each of them: "TestA", "TestA/redis".
	Tests []string
}

// An Edit replaces a piece of a file, which is there exactly once.
type Edit struct {
	File, Old, New string
}

// rules are all, in the order of docs/proof.md.
var rules = []area{
	{"The entry and its transitions", transitions},
	{"Reading", reading},
	{"Writing", writing},
	{"Strict mode", strict},
	{"Outbox and relay", outbox},
	{"Capture", capture},
	{"When Redis or PostgreSQL moves", moves},
	{"Read replicas", replicas},
	{"Deploys", deploys},
	{"Auditors", auditors},
}

type area struct {
	title string
	rules []Rule
}

// mutated applies the edits to what is under root and returns the new texts by
// their absolute paths.
func (r Rule) mutated(root string) (map[string]string, error) {
	texts := map[string]string{}
	for _, e := range r.Edits {
		path := filepath.Join(root, filepath.FromSlash(e.File))
		text, ok := texts[path]
		if !ok {
			raw, err := os.ReadFile(path)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", r.Name, err)
			}
			text = string(raw)
		}
		if n := strings.Count(text, e.Old); n != 1 {
			return nil, fmt.Errorf("%s: what it replaces is %d times in %s, not once:\n%s", r.Name, n, e.File, e.Old)
		}
		texts[path] = strings.Replace(text, e.Old, e.New, 1)
	}
	return texts, nil
}

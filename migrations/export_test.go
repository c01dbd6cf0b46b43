package migrations

import (
	"slices"
	"strings"
)

// Names lists the files that Apply executes.
func Names() (names []string) {
	files, err := own.ReadDir("sql")
	if err != nil {
		panic(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".up.sql") {
			names = append(names, f.Name())
		}
	}
	slices.Sort(names)
	return names
}

// Text is what a file has.
func Text(name string) string {
	text, err := own.ReadFile("sql/" + name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

package outerctx

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// The comments in testdata say what is found in their line; nothing else is.
func TestFindings(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	n, err := run("testdata/outer", []string{"."}, &out)
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("testdata/outer/outer.go")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile("// want `(.*)`")
	found := make(map[int]string)
	place := regexp.MustCompile(`^outer\.go:(\d+):\d+: `)
	for line := range strings.Lines(out.String()) {
		m := place.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("a line of another form: %s", line)
		}
		number := 0
		for _, c := range m[1] {
			number = number*10 + int(c-'0')
		}
		found[number] += line
	}
	expected := 0
	for i, line := range strings.Split(string(source), "\n") {
		m := want.FindStringSubmatch(line)
		switch {
		case m == nil && found[i+1] != "":
			t.Errorf("nothing is wrong here: %s", found[i+1])
		case m != nil:
			expected++
			if !regexp.MustCompile(m[1]).MatchString(found[i+1]) {
				t.Errorf("line %d: %q, want %s", i+1, found[i+1], m[1])
			}
		}
	}
	if n != expected {
		t.Errorf("%d findings, want %d", n, expected)
	}
}

// The library and its examples are free of the mistake, and of what looks like it.
func TestNothingFoundHere(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	n, err := run("../../../..", []string{"./..."}, &out)
	if err != nil {
		t.Fatal(err)
	}
	if n != 0 {
		t.Errorf("%d findings:\n%s", n, out.String())
	}
}

func TestWhatCannotBeLoaded(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"./nowhere", "example.org/nowhere"} {
		if _, err := run(".", []string{pattern}, new(strings.Builder)); err == nil {
			t.Errorf("%s: no error", pattern)
		}
	}
}

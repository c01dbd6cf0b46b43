package main

import (
	"encoding/json"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/internal/testenv"
)

// trial is the module in testdata as a user would have it, and its database as its own role sees it.
func trial(t *testing.T) (dsn string) {
	t.Helper()
	files := map[string]string{"README": "A shop."}
	for _, name := range []string{"internal/shop/tables.go", "billing/tables.go"} {
		files[name] = read(t, filepath.Join("testdata/trial", name))
	}
	server := testenv.NewPostgres(t) // its own: a role is the whole server's
	server.Open(t).MustExec(read(t, "testdata/trial/schema.sql"))
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("app")
	module(t, files)
	return u.String()
}

// The transcript in docs/check.md is what a new user sees, word for word. Run with ASIDE_GOLDEN=1 it is written anew.
func TestTrial(t *testing.T) {
	docs, err := filepath.Abs("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	dsn := trial(t)
	t.Setenv("DATABASE_URL", dsn)
	code, out, said := aside(t, "check", "./...")
	if code != 1 || said != "" {
		t.Errorf("status %d, %s", code, said)
	}
	text := read(t, docs)
	const begin, end = "$ aside check ./...\n", "```"
	before, rest, _ := strings.Cut(text, begin)
	golden, after, ok := strings.Cut(rest, end)
	if !ok {
		t.Fatal("docs/check.md has no transcript")
	}
	if out != golden {
		t.Errorf("docs/check.md says\n%s\nand the command\n%s", golden, out)
		if os.Getenv("ASIDE_GOLDEN") != "" {
			if err := os.WriteFile(docs, []byte(before+begin+out+end+after), 0o644); err != nil { //nolint:gosec // a document
				t.Fatal(err)
			}
		}
	}

	// What is allowed only warns, and then nothing is refused.
	var allow []string
	code, out, said = aside(t, "check", "-json")
	var list finding.List
	if err := json.Unmarshal([]byte(out), &list); err != nil || code != 1 {
		t.Fatalf("status %d, %v: %s %s", code, err, out, said)
	}
	for _, f := range list {
		if entry := f.Code + ":" + f.Table; f.Severity == finding.Refuse && !slices.Contains(allow, entry) {
			allow = append(allow, entry)
		}
	}
	code, out, said = aside(t, "check", "-allow", strings.Join(allow, ","))
	if code != 0 || strings.Contains(out, "refuse") {
		t.Errorf("status %d, %s, %s", code, out, said)
	}

	// Nothing was written into the module.
	var files []string
	_ = filepath.WalkDir(".", func(path string, d fs.DirEntry, _ error) error {
		if !d.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	if want := []string{"README", "billing/tables.go", "go.mod", "internal/shop/tables.go"}; !slices.Equal(files, want) {
		t.Errorf("the module has %q, want %q", files, want)
	}
}

// Patterns, packages that must be imported from different folders, Redis, and a finding of both programs printed once.
func TestSeveralPrograms(t *testing.T) {
	pg := testenv.PostgresWith(t, "CREATE TABLE a (id bigint PRIMARY KEY); CREATE TABLE b (id bigint PRIMARY KEY)")
	table := func(pkg, name string) string {
		return "package " + pkg + "\n\nimport m \"github.com/asidego/aside/model\"\n\ntype Row struct {\n\tID int64 `db:\"id\"`\n}\n\n" +
			"var T = m.MustTable(m.Spec[Row, int64]{Name: \"" + name + "\", Key: \"id\"})\n"
	}
	redis := testenv.Redis(t)
	module(t, map[string]string{
		"one/internal/a/a.go": table("a", "a"),
		"two/internal/b/b.go": table("b", "b"),
		"c/c.go":              table("c", "gone"),
		"main.go":             "package main\n\nfunc main() {}\n",
	})
	const notes = "note lock-timeout lock_timeout: a write waits for a locked row as long as it takes\n"
	code, out, said := aside(t, "check", "-dsn", pg.URL(), "-redis", "redis://"+redis.Addr(), "./one/...", "./two/...")
	if code != 0 || said != "" || strings.Count(out, notes) != 1 || !strings.HasSuffix(out, "\n1 note\n") {
		t.Errorf("%d %s %s", code, out, said)
	}
	code, out, _ = aside(t, "check", "-dsn", pg.URL(), "-redis", "redis://127.0.0.1:1")
	for _, part := range []string{"refuse missing-table gone", "warn redis-unreachable"} {
		if code != 1 || !strings.Contains(out, part) {
			t.Errorf("%d %s does not say %q", code, out, part)
		}
	}
}

// Each mistake says what it is about, and what to do.
func TestMistakes(t *testing.T) {
	dsn := testenv.Postgres(t).URL()
	const head = "package shop\n\nimport \"github.com/asidego/aside/model\"\n\ntype Row struct {\n\tID int64 `db:\"id\"`\n}\n\n"
	const table = "model.MustTable(model.Spec[Row, int64]{Name: \"rows\", Key: \"id\"})\n"
	for name, test := range map[string]struct {
		file string
		args []string
		want []string
	}{
		"no database":   {head + "var Rows = " + table, nil, []string{"DATABASE_URL", "-dsn"}},
		"unreachable":   {head + "var Rows = " + table, []string{"-dsn", "postgres://127.0.0.1:1/x?sslmode=disable"}, []string{"database cannot be reached"}},
		"no such redis": {head + "var Rows = " + table, []string{"-dsn", dsn, "-redis", "http://x"}, []string{"-redis", "http"}},
		"no tables":     {head + "var _ model.Ref\n", []string{"-dsn", dsn}, []string{"no tables found in ./...", "*model.Table"}},
		"not exported":  {head + "var rows = " + table, []string{"-dsn", dsn}, []string{"shop.go:9: rows", "Export", "check.Main"}},
		"in main":       {strings.Replace(head, "shop", "main", 1) + "var Rows = " + table + "func main() {}\n", []string{"-dsn", dsn}, []string{"shop.go:9: Rows", "package of their own"}},
		"no go":         {head + "var Rows = " + table + "var x int = \"\"\n", []string{"-dsn", dsn}, []string{"example.com/shop cannot be used", "shop.go:10:13"}},
		"no such package": {
			head + "var Rows = " + table, []string{"-dsn", dsn, "./nothere"}, []string{"nothere"},
		},
		"wrong table": {
			head + "var Rows = model.MustTable(model.Spec[Row, int64]{Name: \"rows\", Key: \"nokey\"})\n",
			[]string{"-dsn", dsn},
			[]string{"nokey", "ended early"},
		},
		"nil": {head + "var Rows *model.Table[Row, int64]\n", []string{"-dsn", dsn}, []string{"table 1 of 1 is nil"}},
	} {
		t.Run(name, func(t *testing.T) {
			module(t, map[string]string{"shop.go": test.file})
			t.Setenv("DATABASE_URL", "")
			code, out, said := aside(t, append([]string{"check"}, test.args...)...)
			for _, part := range test.want {
				if code != 2 || !strings.Contains(said, part) {
					t.Errorf("status %d, %q does not say %q", code, said, part)
				}
			}
			if out != "" {
				t.Errorf("printed %q", out)
			}
		})
	}
}

func TestVet(t *testing.T) {
	t.Chdir("internal/outerctx/testdata/outer")
	if code, out, said := aside(t, "vet", "."); code != 1 || !strings.Contains(out, "outer.go:") {
		t.Errorf("%d %s %s", code, out, said)
	}
	t.Chdir("../..")
	if code, out, said := aside(t, "vet"); code != 0 || out != "" {
		t.Errorf("%d %s %s", code, out, said)
	}
}

package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/asidego/aside/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// aside runs the command and returns what it printed.
func aside(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, said bytes.Buffer
	code = run(context.Background(), args, &out, &said)
	return code, out.String(), said.String()
}

// module is a module of a user's, in a folder of its own, which the test works in. Files are given as path and text.
func module(t *testing.T, files map[string]string) {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files["go.mod"] = "module example.com/shop\n\ngo 1.26.0\n\nrequire github.com/asidego/aside v0.0.0\n\nreplace github.com/asidego/aside => " + root + "\n"
	for name, text := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestUsage(t *testing.T) {
	if code, out, _ := aside(t, "help"); code != 0 || !strings.Contains(out, "aside check") || !strings.Contains(out, "aside vet") {
		t.Errorf("help: %d %s", code, out)
	}
	for _, args := range [][]string{nil, {"chekc"}, {"check", "-nonsense"}, {"check", "-dsn", "postgres://127.0.0.1/x", "-allow", "citext:users"}} {
		if code, out, said := aside(t, args...); code != 2 || out != "" || said == "" {
			t.Errorf("%q: %d %q %q", args, code, out, said)
		}
	}
	if code, _, said := aside(t, "check", "-h"); code != 0 || !strings.Contains(said, "DATABASE_URL") {
		t.Errorf("check -h: %d %s", code, said)
	}
}

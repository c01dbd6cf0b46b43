package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// patience bounds one rule's tests: without a rule some of them wait in vain.
const patience = 3 * time.Minute

// try runs a rule's tests on the program without it. It returns an error
// unless each of them fails.
//
// The files are left alone: the go command is told to read others in their
// place (go help build, -overlay).
func try(ctx context.Context, root string, r Rule, race bool) error {
	texts, err := r.mutated(root)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "aside-prove-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	overlay, err := writeOverlay(dir, texts)
	if err != nil {
		return err
	}

	binary := filepath.Join(dir, "test")
	build := []string{"test", "-c", "-vet=off", "-overlay", overlay, "-o", binary}
	if race {
		build = append(build, "-race")
	}
	if out, err := run(ctx, root, "go", append(build, r.Package)...); err != nil {
		return fmt.Errorf("it does not build: %w\n%s", err, out)
	}

	var missed []string
	for _, test := range r.Tests {
		out, err := run(ctx, filepath.Join(root, filepath.FromSlash(r.Package)), binary,
			"-test.run", pattern(test), "-test.count=1", "-test.v", "-test.timeout", patience.String())
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil, !failed(out, test):
			missed = append(missed, test)
		}
	}
	if missed != nil {
		return fmt.Errorf("without the rule passed: %s", strings.Join(missed, ", "))
	}
	return nil
}

// writeOverlay writes the new texts, and the file that tells the go command
// where they are.
func writeOverlay(dir string, texts map[string]string) (string, error) {
	var overlay struct{ Replace map[string]string }
	overlay.Replace = map[string]string{}
	for path, text := range texts {
		file := filepath.Join(dir, strconv.Itoa(len(overlay.Replace))+"-"+filepath.Base(path))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			return "", err
		}
		overlay.Replace[path] = file
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "overlay.json")
	return file, os.WriteFile(file, raw, 0o600)
}

// pattern matches one test or subtest only.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// failed tells whether the test itself failed, hung or took the process along,
// and it was not just that a server could not be started.
func failed(out []byte, test string) bool {
	ran := bytes.Contains(out, []byte("=== RUN   "+test+"\n"))
	return ran && slices.ContainsFunc([]string{"--- FAIL: " + test + " (", "panic: ", "WARNING: DATA RACE", "fatal error: "},
		func(sign string) bool { return bytes.Contains(out, []byte(sign)) })
}

func run(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.WaitDelay = time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	return cmd.CombinedOutput()
}

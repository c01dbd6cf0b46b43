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

// patience bounds a run of tests: without a rule some of them wait in vain.
const patience = 5 * time.Minute

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
	if err := build(ctx, root, r.Package, binary, race, "-overlay", overlay); err != nil {
		return err
	}

	var missed []string
	for _, test := range r.Tests {
		out, err := runTests(ctx, root, r.Package, binary, pattern(test))
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

// baseline runs a package's tests on the program as it is. One that fails
// anyway would prove every rule.
func baseline(ctx context.Context, root, pkg string, tests []string, race bool) error {
	dir, err := os.MkdirTemp("", "aside-prove-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary := filepath.Join(dir, "test")
	if err := build(ctx, root, pkg, binary, race); err != nil {
		return err
	}
	var names []string
	for _, test := range tests {
		function, _, _ := strings.Cut(test, "/")
		names = append(names, regexp.QuoteMeta(function))
	}
	if out, err := runTests(ctx, root, pkg, binary, "^("+strings.Join(names, "|")+")$"); err != nil {
		return fmt.Errorf("%s: with all rules in place tests fail: %w\n%s", pkg, err, out)
	}
	return nil
}

// build builds a package's tests as fast as it can: what is built runs once.
func build(ctx context.Context, root, pkg, binary string, race bool, flags ...string) error {
	args := append([]string{"test", "-c", "-vet=off", "-gcflags=-N -l", "-ldflags=-s -w", "-o", binary}, flags...)
	if race {
		args = append(args, "-race")
	}
	if out, err := run(ctx, root, "go", append(args, pkg)...); err != nil {
		return fmt.Errorf("it does not build: %w\n%s", err, out)
	}
	return nil
}

// runTests runs what matches. Whoever takes longer than patience has failed.
func runTests(ctx context.Context, root, pkg, binary, match string) ([]byte, error) {
	return run(ctx, filepath.Join(root, filepath.FromSlash(pkg)), binary,
		"-test.run", match, "-test.count=1", "-test.v", "-test.timeout", patience.String())
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

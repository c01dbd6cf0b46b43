// Command prove takes the rules of the protocol out of the code, one at a time,
// and runs the tests that are said to fail then. A rule that nothing misses is
// an error.
//
//	go run ./internal/prove             all rules; see make prove
//	go run ./internal/prove -run lease  those whose names match
//	go run ./internal/prove -table      write docs/proof.md
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:generate go run . -table

func main() {
	match := flag.String("run", "", "only rules whose names match this regular `expression`")
	race := flag.Bool("race", false, "build with the race detector")
	table := flag.Bool("table", false, "write docs/proof.md instead")
	flag.Parse()
	if err := prove(*match, *race, *table); err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

func prove(match string, race, writeTable bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	root, err := moduleRoot(ctx)
	if err != nil {
		return err
	}
	if writeTable {
		return os.WriteFile(filepath.Join(root, "docs", "proof.md"), table(), 0o644)
	}
	wanted, err := regexp.Compile(match)
	if err != nil {
		return err
	}
	tried, missed := 0, 0
	for _, a := range rules {
		for _, r := range a.rules {
			if !wanted.MatchString(r.Name) {
				continue
			}
			began := time.Now()
			err := try(ctx, root, r, race)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			tried++
			verdict := "missed by " + strings.Join(r.Tests, ", ")
			if err != nil {
				missed++
				verdict = "NOT PROVEN: " + err.Error()
			}
			fmt.Printf("%4.0fs  %s: %s\n", time.Since(began).Seconds(), r.Name, verdict)
		}
	}
	switch {
	case tried == 0:
		return fmt.Errorf("no rule's name matches %q", match)
	case missed > 0:
		return fmt.Errorf("%d of %d rules are not proven", missed, tried)
	}
	fmt.Printf("%d rules: each was missed\n", tried)
	return nil
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

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
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:generate go run . -table

func main() {
	match := flag.String("run", "", "only rules whose names match this regular `expression`")
	race := flag.Bool("race", false, "build with the race detector")
	jobs := flag.Int("j", 2, "how many rules to try at a time")
	table := flag.Bool("table", false, "write docs/proof.md instead")
	flag.Parse()
	if err := prove(*match, *race, *table, *jobs); err != nil {
		fmt.Fprintln(os.Stderr, "prove:", err)
		os.Exit(1)
	}
}

func prove(match string, race, writeTable bool, jobs int) error {
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
	chosen := choose(wanted)
	if len(chosen) == 0 {
		return fmt.Errorf("no rule's name matches %q", match)
	}
	tests := map[string][]string{}
	for _, r := range chosen {
		tests[r.Package] = append(tests[r.Package], r.Tests...)
	}
	for _, pkg := range slices.Sorted(maps.Keys(tests)) {
		fmt.Printf("       %s as it is\n", pkg)
		if err := baseline(ctx, root, pkg, tests[pkg], race); err != nil {
			return err
		}
	}
	unproven := tryAll(ctx, root, chosen, race, jobs)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case unproven > 0:
		return fmt.Errorf("%d of %d rules are not proven", unproven, len(chosen))
	}
	fmt.Printf("%d rules: each was missed\n", len(chosen))
	return nil
}

// tryAll tries some rules at a time, for tests without a rule mostly wait, and
// returns how many are not proven.
func tryAll(ctx context.Context, root string, chosen []Rule, race bool, jobs int) (unproven int) {
	next := make(chan Rule)
	var mu sync.Mutex
	var done sync.WaitGroup
	for range max(1, jobs) {
		done.Go(func() {
			for r := range next {
				began := time.Now()
				err := try(ctx, root, r, race)
				verdict := "missed by " + strings.Join(r.Tests, ", ")
				if err != nil {
					verdict = "NOT PROVEN: " + err.Error()
				}
				mu.Lock()
				if err != nil {
					unproven++
				}
				fmt.Printf("%4.0fs  %s: %s\n", time.Since(began).Seconds(), r.Name, verdict)
				mu.Unlock()
			}
		})
	}
	for _, r := range chosen {
		if ctx.Err() == nil {
			next <- r
		}
	}
	close(next)
	done.Wait()
	return unproven
}

func choose(wanted *regexp.Regexp) (chosen []Rule) {
	for _, a := range rules {
		for _, r := range a.rules {
			if wanted.MatchString(r.Name) {
				chosen = append(chosen, r)
			}
		}
	}
	return chosen
}

func moduleRoot(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env GOMOD: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

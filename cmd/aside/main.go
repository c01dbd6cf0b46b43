// Command aside checks what a program and its database say to each other before they say it in production.
//
//	aside check ./...   compares the declared tables with the database
//	aside capture ./... writes migrations that have every change of the tables captured
//	aside vet ./...     finds statements that are sent outside the transaction around them
//
// See docs/check.md and docs/capture.md.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/asidego/aside/cmd/aside/internal/outerctx"
)

const usage = `aside checks a program that caches tables of PostgreSQL.

	aside check [flags] [packages]   compare the declared tables with the database
	aside capture [flags] [packages] write migrations by which all changes of the tables are captured
	aside vet [packages]             find statements outside the transaction around them
	aside help                       print this

Packages are patterns of the go command; none: ./... . "aside check -h" and "aside capture -h" list their flags.
The exit status is 1 if something was found that must not stay, and 2 if nothing could be checked.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	switch args[0] {
	case "check":
		return check(ctx, args[1:], stdout, stderr)
	case "capture":
		return capture(ctx, args[1:], stdout, stderr)
	case "vet":
		return vet(args[1:], stdout, stderr)
	case "help", "-h", "-help", "--help":
		fmt.Fprint(stdout, usage)
		return 0
	}
	fmt.Fprintf(stderr, "aside: there is no command %q\n\n%s", args[0], usage)
	return 2
}

func vet(patterns []string, stdout, stderr io.Writer) int {
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	n, err := outerctx.Run(patterns, stdout)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "aside vet:", err)
		return 2
	case n > 0:
		return 1
	}
	return 0
}

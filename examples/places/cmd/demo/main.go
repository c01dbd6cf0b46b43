// Command demo shows in about a minute what a cache in front of a repository
// gains and what it must not lose:
//
//  1. a PostgreSQL and a Redis of its own, with 171,075 cities in it;
//  2. the same traffic against the service without and with the cache;
//  3. writers and readers in two processes, and how many reads were stale;
//  4. a Redis that hangs, dies and comes back under load.
//
// It exits with 1 if a count is not what it promises. -serve leaves the service
// running afterwards; -quick is for tests; -naive puts a GET, SELECT, SET and
// DEL cache into part 3, to show that its check can fail.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	if isWorker() {
		os.Exit(workerMain())
	}
	var o options
	flag.BoolVar(&o.quick, "quick", false, "fewer cities and shorter runs; the numbers mean little")
	flag.BoolVar(&o.serve, "serve", false, "leave the service running afterwards")
	flag.BoolVar(&o.naive, "naive", false, "part 3 alone, with a GET, SELECT, SET and DEL cache: it fails")
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address for -serve")
	flag.Uint64Var(&o.seed, "seed", 1, "of the traffic")
	flag.Parse()

	// SIGHUP too: a terminal that closes must not leave servers behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := run(ctx, o, os.Stdout)
	switch {
	case ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)):
		fmt.Println("\nInterrupted; what was started is stopped.")
		if !o.serve {
			os.Exit(130)
		}
	case err != nil:
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

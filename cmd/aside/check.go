package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"

	asidecheck "github.com/asidego/aside/cachedrepo/check"
	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/cmd/aside/internal/tables"
)

const connectTimeout = 10 * time.Second

// check is the command "aside check".
func check(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("aside check", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dsn := flags.String("dsn", "", "`URL` of the database, or key=value (default: $DATABASE_URL)")
	server := flags.String("redis", "", "`URL` of Redis (default: $REDIS_URL; none: not looked at)")
	asJSON := flags.Bool("json", false, "print JSON")
	allow := flags.String("allow", "", "findings that only warn: `code:table,...`")
	flags.Usage = func() {
		fmt.Fprintln(stderr, "usage: aside check [flags] [packages]\n\nIt imports the packages' exported tables, and only reads from the database.")
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return 0
	} else if err != nil {
		return 2
	}
	if *dsn == "" {
		*dsn = os.Getenv("DATABASE_URL")
	}
	if *server == "" {
		*server = os.Getenv("REDIS_URL")
	}
	list, err := find(ctx, *dsn, *server, split(*allow), flags.Args(), stderr)
	if err == nil && *asJSON {
		err = list.WriteJSON(stdout)
	} else if err == nil {
		err = list.WriteText(stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "aside check:", err)
		return 2
	case list.Refused():
		return 1
	}
	return 0
}

func split(list string) finding.Allow {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func find(ctx context.Context, dsn, server string, allow finding.Allow, patterns []string, stderr io.Writer) (list finding.List, err error) {
	if err := allow.Check(); err != nil {
		return nil, fmt.Errorf("-allow: %w", err)
	}
	db, err := connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if server != "" {
		if list, err = inspect(ctx, server); err != nil {
			return nil, err
		}
	}
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	programs, err := tables.Find(ctx, patterns)
	if err != nil {
		return nil, err
	}
	for _, p := range programs {
		var some finding.List
		err := p.Run(ctx, stderr, func(in io.Reader, out io.Writer) (err error) {
			some, err = asidecheck.Ask(ctx, db, in, out, allow)
			return err
		})
		if err != nil {
			return nil, err
		}
		list = append(list, some...)
	}
	return once(allow.Apply(list)), nil
}

// once leaves out what several programs have found: the database is the same for all.
func once(list finding.List) finding.List {
	seen := make(map[finding.Finding]bool)
	var l finding.List
	for _, f := range list {
		if !seen[f] {
			seen[f] = true
			l = append(l, f)
		}
	}
	return l
}

// inspect looks at Redis with a client of its own, set as redisstore.Tune says: the settings of the program's client show
// when cachedrepo.Cache.Check is called there.
func inspect(ctx context.Context, server string) (list finding.List, err error) {
	o, err := redis.ParseURL(server)
	if err != nil {
		return nil, fmt.Errorf("-redis: %w", err)
	}
	redisstore.Tune(o)
	client := redis.NewClient(o)
	defer func() { err = errors.Join(err, client.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	return redisstore.New(client).Inspect(ctx), nil
}

package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	asidecheck "github.com/asidego/aside/cachedrepo/check"
	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cmd/aside/internal/tables"
	"github.com/asidego/aside/migrations"
)

const captureUsage = `usage: aside capture [flags] [packages]

It writes migrations by which every change of the packages' exported tables is captured, whoever makes it: those that the
database needs. Without -dir it prints them. With -check it writes nothing and says what the database lacks.
`

// capture is the command "aside capture".
func capture(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("aside capture", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dsn := flags.String("dsn", "", "`URL` of the database, or key=value (default: $DATABASE_URL)")
	only := flags.String("tables", "", "`names` of the tables, separated by commas (default: all)")
	dir := flags.String("dir", "", "`folder` of the migrations, named as golang-migrate wants it")
	subscriber := flags.Bool("subscriber", false, "capture what logical replication applies on this server, too")
	verify := flags.Bool("check", false, "only compare; exit with status 1 if anything is missing")
	flags.Usage = func() {
		fmt.Fprint(stderr, captureUsage+"\n")
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
	list, declared, err := captured(ctx, *dsn, split(*only), flags.Args(), stderr)
	if err == nil && *verify {
		if err = list.WriteText(stdout); err == nil && len(list) > 0 {
			return 1
		}
	} else if err == nil {
		err = writeCapture(*dir, list, declared, *subscriber, stdout)
	}
	if err != nil {
		fmt.Fprintln(stderr, "aside capture:", err)
		return 2
	}
	return 0
}

// captured returns what the database lacks, and what the tables declare.
func captured(ctx context.Context, dsn string, only, patterns []string, stderr io.Writer) (list finding.List, declared []asidecheck.Declared, err error) {
	db, err := connect(ctx, dsn)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if len(patterns) == 0 {
		patterns = []string{"./..."}
	}
	programs, err := tables.Find(ctx, patterns)
	if err != nil {
		return nil, nil, err
	}
	for _, p := range programs {
		err := p.Run(ctx, stderr, func(in io.Reader, out io.Writer) error {
			some, ds, err := asidecheck.AskCapture(ctx, db, in, out)
			list = append(list, some...)
			declared = append(declared, ds...)
			return err
		})
		if err != nil {
			return nil, nil, err
		}
	}
	for _, name := range only {
		if !slices.ContainsFunc(declared, func(d asidecheck.Declared) bool { return d.Table == name }) {
			return nil, nil, fmt.Errorf("-tables: no table %q is declared in %s", name, strings.Join(patterns, " "))
		}
	}
	if len(only) > 0 {
		list = slices.DeleteFunc(list, func(f finding.Finding) bool { return f.Table != "" && !slices.Contains(only, f.Table) })
	}
	return once(list), together(declared), nil
}

func connect(ctx context.Context, dsn string) (*sql.DB, error) {
	if dsn == "" {
		return nil, errors.New("no database: set DATABASE_URL, or give -dsn postgres://user@host/database")
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, fmt.Errorf("-dsn: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := db.PingContext(ctx); err != nil { // before the user's code is built: it takes longer
		return nil, errors.Join(fmt.Errorf("the database cannot be reached: %w", err), db.Close())
	}
	return db, nil
}

// together has each table once: several packages may declare records of one.
func together(declared []asidecheck.Declared) (all []asidecheck.Declared) {
	for _, d := range declared {
		i := slices.IndexFunc(all, func(a asidecheck.Declared) bool { return a.Table == d.Table })
		if i < 0 {
			all = append(all, d)
			continue
		}
		for _, c := range d.Columns {
			if !slices.Contains(all[i].Columns, c) {
				all[i].Columns = append(all[i].Columns, c)
			}
		}
	}
	slices.SortFunc(all, func(a, b asidecheck.Declared) int { return cmp.Compare(a.Table, b.Table) })
	return all
}

// writeCapture writes a migration for the tables of which anything was found.
func writeCapture(dir string, list finding.List, declared []asidecheck.Declared, subscriber bool, stdout io.Writer) error {
	for _, f := range list {
		if f.Severity == finding.Refuse {
			return fmt.Errorf("%s; %s", f, f.Advice)
		}
	}
	var up, down strings.Builder
	for _, d := range declared {
		about := slices.Clone(list)
		about = slices.DeleteFunc(about, func(f finding.Finding) bool { return f.Table != d.Table })
		if len(about) == 0 && !subscriber {
			continue
		}
		on, off := migrations.CaptureColumns(d.Table, d.Columns, subscriber)
		up.WriteString(on)
		if slices.ContainsFunc(about, func(f finding.Finding) bool { return f.Code == finding.NotCaptured }) {
			down.WriteString(off)
		} else {
			fmt.Fprintf(&down, "-- %s was captured before: more columns and partitions do no harm.\n", d.Table)
		}
	}
	if up.Len() == 0 {
		fmt.Fprintln(stdout, "nothing to do: the tables are captured")
		return nil
	}
	if dir == "" {
		_, err := fmt.Fprint(stdout, up.String())
		return err
	}
	version, err := nextVersion(dir, time.Now())
	if err != nil {
		return err
	}
	for suffix, text := range map[string]string{"up": up.String(), "down": down.String()} {
		text = "-- Written by \"aside capture\". It waits for whoever writes to the tables: give it a lock_timeout.\n" + text
		if err := os.WriteFile(filepath.Join(dir, version+"_aside_capture."+suffix+".sql"), []byte(text), 0o644); err != nil { //nolint:gosec // a source file
			return err
		}
	}
	_, err = fmt.Fprintln(stdout, filepath.Join(dir, version+"_aside_capture.{up,down}.sql"))
	return err
}

var migrationName = regexp.MustCompile(`^(\d+)_.*\.(up|down)\.sql$`)

// nextVersion continues what is in the folder: numbers of so many digits, or times.
func nextVersion(dir string, now time.Time) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	last, digits := uint64(0), 4
	for _, e := range entries {
		m := migrationName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[1], 10, 64)
		if err != nil {
			return "", fmt.Errorf("%s: %w", e.Name(), err)
		}
		if n >= last {
			last, digits = n, len(m[1])
		}
	}
	next := strconv.FormatUint(last+1, 10)
	if at := now.UTC().Format("20060102150405"); digits == len(at) && at > next {
		next = at
	}
	return strings.Repeat("0", max(0, digits-len(next))) + next, nil
}

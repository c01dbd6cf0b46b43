package check

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/model"
)

// Main is the main function of a program that checks tables which "aside check" cannot import: those of a package main,
// and unexported ones. It has the flags -dsn (default: DATABASE_URL), -json and -allow, and exits with status 1 if a
// finding refuses and 2 if it could not check. The program imports a driver, lib/pq or pgx's stdlib.
func Main(tables model.Tables) {
	os.Exit(run(context.Background(), tables, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, tables model.Tables, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dsn := flags.String("dsn", os.Getenv("DATABASE_URL"), "database, as a URL or key=value")
	asJSON := flags.Bool("json", false, "print JSON")
	allow := flags.String("allow", "", "findings that only warn: code:table,...")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	list, err := open(ctx, *dsn, tables, split(*allow))
	if err == nil && *asJSON {
		err = list.WriteJSON(stdout)
	} else if err == nil {
		err = list.WriteText(stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 2
	case list.Refused():
		return 1
	}
	return 0
}

func open(ctx context.Context, dsn string, tables model.Tables, allow []string) (list finding.List, err error) {
	if dsn == "" {
		return nil, errors.New("check: no database: set DATABASE_URL or -dsn")
	}
	drivers := sql.Drivers()
	i := slices.IndexFunc(drivers, func(name string) bool { return name == "pgx" || name == "postgres" })
	if i < 0 {
		return nil, errors.New(`check: no driver: import _ "github.com/lib/pq" or _ "github.com/jackc/pgx/v5/stdlib"`)
	}
	db, err := sql.Open(drivers[i], dsn)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return Tables(ctx, db, tables, allow)
}

func split(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// asked and answered are what the command "aside check" and the program that it builds around a module's tables say to
// each other, a line of JSON each. That program needs nothing but the standard library and packages of this module that
// need no more: whatever a user's go.sum has, it can be built.
type (
	asked struct {
		Tables   []string   `json:"tables"`
		Declared []Declared `json:"declared"`
	}
	answered struct {
		Facts   *catalog.Facts `json:"facts"`
		Allow   finding.Allow  `json:"allow"`
		Capture bool           `json:"capture"` // say only what is to be said of capture, and which tables are not captured
	}
)

// Declared is what a table's writers have to be asked for: the columns of its key, its indexes and its scope.
type Declared struct {
	Table   string   `json:"table"` // model.Spec.Name
	Columns []string `json:"columns"`
}

// Answer is what the program of "aside check" runs: it writes the names of the tables to out, reads what the catalog says
// of them from in, and writes what is found. It exits if it cannot.
func Answer(in io.Reader, out io.Writer, tables model.Tables) {
	if err := answer(in, out, tables); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
}

func answer(in io.Reader, out io.Writer, tables model.Tables) error {
	rels, err := relations(tables)
	if err != nil {
		return err
	}
	to := json.NewEncoder(out)
	if err := to.Encode(asked{names(rels), declared(rels)}); err != nil {
		return err
	}
	var a answered
	if err := json.NewDecoder(in).Decode(&a); err != nil {
		return fmt.Errorf("check: no facts: %w", err)
	}
	list := judge(a.Facts, rels, a.Allow)
	if a.Capture {
		list = ofCapture(a.Facts, rels, list)
	}
	return to.Encode(list)
}

// Ask is the other side of Answer: it reads names from the program's output, asks db, and returns what the program finds.
func Ask(ctx context.Context, db Querier, in io.Reader, out io.Writer, allow []string) (finding.List, error) {
	list, _, err := ask(ctx, db, in, out, answered{Allow: allow})
	return list, err
}

// AskCapture is Ask for the command "aside capture": it returns what is to be said of the capture of tables, and what they
// declare.
func AskCapture(ctx context.Context, db Querier, in io.Reader, out io.Writer) (finding.List, []Declared, error) {
	return ask(ctx, db, in, out, answered{Capture: true})
}

func ask(ctx context.Context, db Querier, in io.Reader, out io.Writer, a answered) (list finding.List, all []Declared, err error) {
	from := json.NewDecoder(in)
	var q asked
	if err := from.Decode(&q); err != nil {
		return nil, nil, fmt.Errorf("the program with the tables ended early: %w", err)
	}
	if a.Facts, err = catalog.Read(ctx, db, q.Tables); err != nil {
		return nil, nil, fmt.Errorf("reading the catalog: %w", err)
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return nil, nil, err
	}
	if err := from.Decode(&list); err != nil {
		return nil, nil, fmt.Errorf("the program with the tables found nothing to say: %w", err)
	}
	return list, q.Declared, nil
}

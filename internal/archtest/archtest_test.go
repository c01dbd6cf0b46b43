// Package archtest holds the library's packages to the directions of their imports, and go.mod to its few requirements.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/asidego/aside"

// pkg is what go list says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
	Deps       []string
}

// rule says what the packages under some folders may import directly. A folder that ends in /... stands for all below it,
// too.
type rule struct {
	folders []string
	ours    []string // folders of the library
	others  []string // modules; "std" alone is always allowed
	why     string
}

// The arrows of the library. Each package that is not internal, an example or a tool has exactly one line here.
var rules = []rule{
	{
		[]string{"model"},
		nil, nil,
		"model is what every process shares that reads or writes a table, generators included: it must cost nobody a dependency",
	},
	{
		[]string{"cachedrepo/store"},
		nil, nil,
		"the author of a store imports this package alone",
	},
	{
		[]string{"cachedrepo/finding"},
		nil, nil,
		"checks of every part of the library speak in it, whatever they import",
	},
	{
		[]string{"cachedrepo/internal/catalog"},
		[]string{"model", "cachedrepo/finding"},
		nil,
		"it judges a table by what database/sql shows of the catalog, and knows neither cache nor driver",
	},
	{
		[]string{"cachedrepo/internal/protocol", "cachedrepo/internal/modelcheck"},
		[]string{"cachedrepo/store", "cachedrepo/internal/protocol", "txhooks"},
		nil,
		"what is decided and what is searched is pure: no rows, no servers, no clock",
	},
	{
		[]string{"cachedrepo/check"},
		[]string{"model", "cachedrepo/finding", "cachedrepo/internal/catalog"},
		nil,
		"aside check builds it into a program within the user's module, whose go.sum may lack everything else",
	},
	{
		[]string{"cachedrepo/redisstore"},
		[]string{"cachedrepo/store", "cachedrepo/finding"},
		[]string{"github.com/redis/go-redis/v9"},
		"a store knows states and tokens, not rows; otherwise it could not be replaced",
	},
	{
		[]string{"cachedrepo/memstore"},
		[]string{"cachedrepo/store"},
		nil,
		"a store knows states and tokens, not rows; otherwise it could not be replaced",
	},
	{
		[]string{"cachedrepo/storetest"},
		[]string{"cachedrepo/store"},
		[]string{"pgregory.net/rapid"},
		"it tests stores that are not ours: it may know nothing but their contract",
	},
	{
		[]string{"txhooks"},
		[]string{"model", "txhooks/internal/...", "internal/faultpoint"},
		[]string{"github.com/jmoiron/sqlx"},
		"transactions with hooks are of use without any cache, and know none",
	},
	{
		[]string{"txhooks/txwatch"},
		[]string{"model", "txhooks", "txhooks/internal/..."},
		nil,
		"it watches any driver of database/sql",
	},
	{
		[]string{"txhooks/outbox"},
		[]string{"model", "txhooks", "txhooks/internal/..."},
		nil,
		"it writes down and delivers changes of rows, to whoever keeps something of them",
	},
	{
		[]string{"txhooks/internal/..."},
		nil, nil,
		"what reads SQL knows neither tables nor transactions",
	},
	{
		[]string{"repo"},
		[]string{"model", "txhooks", "repo/internal/..."},
		[]string{"github.com/jmoiron/sqlx", "github.com/lib/pq"}, // pq.Array writes lists, whatever the driver
		"repositories report to their transaction and know no cache: the cache is put in front of them",
	},
	{
		[]string{"repo/internal/..."},
		[]string{"model"},
		nil,
		"what the repositories share knows neither databases nor caches",
	},
	{
		[]string{"repo/memrepo"},
		[]string{"model", "txhooks", "repo", "repo/internal/..."},
		[]string{"github.com/jmoiron/sqlx"},
		"a repository for unit tests needs no server and no driver",
	},
	{
		[]string{"cachedrepo"},
		[]string{"model", "txhooks", "repo", "cachedrepo/store", "cachedrepo/finding", "cachedrepo/internal/...", "internal/faultpoint"},
		[]string{"github.com/fxamacker/cbor/v2", "github.com/jmoiron/sqlx"}, // replicas are txhooks.Config.Replicas
		"the protocol runs on any store.Store: a Redis client here would bind every user to it",
	},
	{
		[]string{"cachedrepo/cachedrepotest"},
		[]string{"model", "txhooks", "txhooks/txwatch", "cachedrepo"},
		nil,
		"it is for the tests of applications, on whatever database and store they run",
	},
	{
		[]string{"migrations"},
		[]string{"model"},
		[]string{"github.com/golang-migrate/migrate/v4"},
		"whoever brings the schema up need not link the library; model costs nothing, and says what is captured",
	},
}

// requirements are the modules that packages of ours import, tests and examples included. A new one is a decision, and
// costs every user of the library a line in go.sum.
var requirements = []string{
	"github.com/DATA-DOG/go-sqlmock",
	"github.com/alicebob/miniredis/v2",
	"github.com/fxamacker/cbor/v2",
	"github.com/golang-migrate/migrate/v4",
	"github.com/google/uuid",
	"github.com/jackc/pgx/v5",
	"github.com/jmoiron/sqlx",
	"github.com/lib/pq",
	"github.com/redis/go-redis/v9",
	"go.uber.org/goleak",
	"pgregory.net/rapid",
}

func TestImports(t *testing.T) {
	all := list(t, "-deps", "./...")
	for path := range all {
		folder, ok := strings.CutPrefix(path, module+"/")
		if !ok || strings.HasPrefix(folder, "internal/") || strings.HasPrefix(folder, "examples/") || strings.HasPrefix(folder, "cmd/") {
			continue
		}
		var of *rule
		for i := range rules {
			if within(rules[i].folders, folder) {
				of = &rules[i]
			}
		}
		if of == nil {
			t.Errorf("%s: no rule says what it may import: add one", folder)
			continue
		}
		for _, imported := range all[path].Imports {
			if allowed(of, imported, all[imported].Standard) {
				continue
			}
			t.Errorf("%s imports %s: %s", folder, imported, of.why)
		}
	}
}

// Not directly, and not by way of anything else.
func TestReach(t *testing.T) {
	all := list(t, "-deps", "./...")
	for _, test := range []struct {
		from []string
		to   []string
		why  string
	}{
		{
			[]string{"model", "cachedrepo/store", "txhooks", "repo", "repo/memrepo", "cachedrepo", "cachedrepo/memstore", "migrations"},
			[]string{"github.com/redis/go-redis/v9", "github.com/redis/rueidis", "github.com/gomodule/redigo"},
			"only who uses Redis links a client of it",
		},
		{
			[]string{"txhooks", "cachedrepo/redisstore", "cachedrepo/memstore", "cachedrepo/storetest"},
			[]string{"github.com/lib/pq", "github.com/jackc/pgx/v5"},
			"the driver is the user's choice; errors are told by their SQLSTATE method",
		},
		{
			[]string{"repo", "repo/memrepo", "cachedrepo"},
			[]string{"github.com/jackc/pgx/v5"},
			"the driver is the user's choice; errors are told by their SQLSTATE method",
		},
		{
			[]string{"model", "txhooks", "repo", "repo/memrepo"},
			[]string{module + "/cachedrepo", "github.com/fxamacker/cbor/v2"},
			"below the cache nobody knows of it",
		},
		{
			[]string{"repo/memrepo"},
			[]string{module + "/internal/testenv", module + "/internal/localserver"},
			"unit tests of users start no servers",
		},
	} {
		for _, folder := range test.from {
			p, ok := all[module+"/"+folder]
			if !ok {
				t.Errorf("there is no package %s", folder)
			}
			for _, dep := range p.Deps {
				for _, bad := range test.to {
					if dep == bad || strings.HasPrefix(dep, bad+"/") {
						t.Errorf("%s depends on %s: %s", folder, dep, test.why)
					}
				}
			}
		}
	}
}

// Only what is made for tests may import testing, which adds flags to the program that links it.
func TestNobodyLinksTesting(t *testing.T) {
	tests := []string{"cachedrepo/storetest", "internal/testenv"}
	for path, p := range list(t, "-deps", "./...") {
		folder, ours := strings.CutPrefix(path, module+"/")
		if !ours || slices.Contains(tests, folder) {
			continue
		}
		for _, dep := range p.Imports {
			switch sub, _ := strings.CutPrefix(dep, module+"/"); {
			case dep == "testing" || strings.HasPrefix(dep, "github.com/stretchr/") || dep == "go.uber.org/goleak" || dep == "pgregory.net/rapid",
				slices.Contains(tests, sub) && !strings.HasPrefix(folder, "internal/"):
				t.Errorf("%s imports %s outside its tests: testing adds its flags and its weight to the program that links it", folder, dep)
			}
		}
	}
}

func TestRequirements(t *testing.T) {
	var mod struct {
		Require []struct{ Path string }
		Replace []struct{ Old struct{ Path string } }
		Exclude []struct{ Path string }
	}
	if err := json.Unmarshal(run(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Replace {
		t.Errorf("go.mod replaces %s: a replacement holds in our builds alone, so that users get what we never tested", r.Old.Path)
	}
	for _, e := range mod.Exclude {
		t.Errorf("go.mod excludes %s: an exclusion holds in our builds alone", e.Path)
	}
	required := map[string]bool{}
	for _, r := range mod.Require {
		required[r.Path] = true
	}
	// By what is imported, not by the comment "// indirect", which is only as right as the last go mod tidy.
	used := map[string]bool{}
	for path, p := range list(t, "-test", "./...") {
		if !strings.HasPrefix(path, module) {
			continue
		}
		for _, dep := range p.Imports {
			dep, _, _ = strings.Cut(dep, " ") // as compiled for a test
			if strings.Contains(strings.Split(dep, "/")[0], ".") && !strings.HasPrefix(dep, module) && dep != path {
				used[moduleOf(required, dep)] = true
			}
		}
	}
	for m := range used {
		if !slices.Contains(requirements, m) {
			t.Errorf("%s is imported and not on the list: a new requirement is a decision that every user of the library pays for", m)
		}
	}
}

// moduleOf finds the module of a package among those required.
func moduleOf(required map[string]bool, path string) string {
	for m := path; m != "." && m != "/"; m = filepath.ToSlash(filepath.Dir(m)) {
		if required[m] {
			return m
		}
	}
	return path
}

func within(folders []string, folder string) bool {
	return slices.ContainsFunc(folders, func(f string) bool {
		base, below := strings.CutSuffix(f, "/...")
		return folder == base || below && strings.HasPrefix(folder, base+"/")
	})
}

func allowed(r *rule, imported string, standard bool) bool {
	if imported == "testing" {
		return true // TestNobodyLinksTesting
	}
	if folder, ours := strings.CutPrefix(imported, module+"/"); ours {
		return within(r.ours, folder)
	}
	return standard || imported == "unsafe" || slices.ContainsFunc(r.others, func(m string) bool {
		return imported == m || strings.HasPrefix(imported, m+"/")
	})
}

func list(t *testing.T, args ...string) map[string]pkg {
	t.Helper()
	// go test takes the result of the last run if this process reads nothing else than it did then; what go list reads it
	// does not see.
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	out := json.NewDecoder(bytes.NewReader(run(t, append([]string{"list", "-json=ImportPath,Standard,Imports,Deps"}, args...)...)))
	all := map[string]pkg{}
	for {
		var p pkg
		if err := out.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[p.ImportPath] = p
	}
}

// run runs the go command at the module's root.
func run(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go %s: %s", strings.Join(args, " "), failed.Stderr)
		}
		t.Fatal(err)
	}
	return out
}

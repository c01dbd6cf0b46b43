package outerctx

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Run checks the packages that the patterns name, as the go command understands them ("./..."; none: the one in the
// current folder), and writes a line per finding: file:line:column: text. Test files are not looked at: what they do
// outside a transaction while one is open they do on purpose. A line that is meant has the comment //aside:outer on it,
// or on the line above.
func Run(patterns []string, w io.Writer) (findings int, err error) { return run(".", patterns, w) }

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles, CgoFiles       []string
	ImportMap               map[string]string
	DepOnly                 bool
	Error                   *struct{ Err string }
}

func run(dir string, patterns []string, w io.Writer) (int, error) {
	packages, err := list(dir, patterns)
	if err != nil {
		return 0, err
	}
	exports := make(map[string]string)
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	var found []finding
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		if p.Error != nil {
			return 0, fmt.Errorf("%s: %s", p.ImportPath, p.Error.Err)
		}
		some, err := p.check(exports)
		if err != nil {
			return 0, err
		}
		found = append(found, some...)
	}
	slices.SortFunc(found, func(a, b finding) int {
		return cmp.Or(cmp.Compare(a.pos.Filename, b.pos.Filename), cmp.Compare(a.pos.Offset, b.pos.Offset))
	})
	for _, f := range found {
		f.pos.Filename = relative(dir, f.pos.Filename)
		if _, err := fmt.Fprintf(w, "%s: %s\n", f.pos, f.text); err != nil {
			return 0, err
		}
	}
	return len(found), nil
}

func relative(dir, file string) string {
	if base, err := filepath.Abs(dir); err == nil {
		if rel, err := filepath.Rel(base, file); err == nil && !strings.HasPrefix(rel, "..") {
			return rel
		}
	}
	return file
}

// list asks the go command for the packages and the compiled form of what they import, so that types are known without
// reading the sources of all that.
func list(dir string, patterns []string) (packages []*listed, err error) {
	args := append([]string{"list", "-e", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,CgoFiles,ImportMap,DepOnly,Error", "--"}, patterns...)
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go list: %w\n%s", err, said.String())
	}
	for d := json.NewDecoder(&out); ; {
		p := new(listed)
		if err := d.Decode(p); errors.Is(err, io.EOF) {
			return packages, nil
		} else if err != nil {
			return nil, fmt.Errorf("go list: %w", err)
		}
		packages = append(packages, p)
	}
}

func (p *listed) check(exports map[string]string) ([]finding, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	config := types.Config{
		FakeImportC: true,
		Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) {
			if mapped, ok := p.ImportMap[path]; ok {
				path = mapped
			}
			if exports[path] == "" {
				return nil, fmt.Errorf("%s does not compile", path)
			}
			return os.Open(exports[path])
		}),
		Error: func(error) {}, // the compiler says it better; what has types is looked at
	}
	info := &types.Info{
		Types: make(map[ast.Expr]types.TypeAndValue), Defs: make(map[*ast.Ident]types.Object),
		Uses: make(map[*ast.Ident]types.Object), Selections: make(map[*ast.SelectorExpr]*types.Selection),
	}
	_, _ = config.Check(p.ImportPath, fset, files, info)
	return check(fset, files, info), nil
}

// Package tables finds the tables that a module declares with package model, and builds programs that import them.
package tables

import (
	"bytes"
	"context"
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

const model = "github.com/asidego/aside/model"

// listed is what go list says of a package.
type listed struct {
	ImportPath, Dir, Name, Export string
	GoFiles, CgoFiles, Deps       []string
	ImportMap                     map[string]string
	DepOnly                       bool
	Module                        *struct{ Dir string }
	Error                         *struct{ Pos, Err string }
	DepsErrors                    []*struct{ Pos, Err string }
}

// declared are the variables of one package that hold tables.
type declared struct {
	*listed
	one, many []string // exported, of type *model.Table[T, K] and model.Tables
	hidden    []string // those that no other package can name, and where they stand
}

// Find looks for tables in the packages that the patterns name and returns as few programs as can import them all. It
// fails if there are none, if a package does not compile, and if a table cannot be imported: a check that silently leaves
// one out would be worse than none.
func Find(ctx context.Context, patterns []string) ([]*Program, error) {
	packages, err := list(ctx, patterns)
	if err != nil {
		return nil, err
	}
	exports := make(map[string]string)
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	var found []*declared
	var hidden []string
	for _, p := range packages {
		if p.DepOnly {
			continue
		}
		if p.Error != nil {
			return nil, fmt.Errorf("%s cannot be used: %s", p.ImportPath, strings.TrimSpace(p.Error.Pos+" "+p.Error.Err))
		}
		if !slices.Contains(p.Deps, model) {
			continue
		}
		d, err := p.declarations(exports)
		if err != nil {
			return nil, err
		}
		hidden = append(hidden, d.hidden...)
		if len(d.one)+len(d.many) > 0 {
			found = append(found, d)
		}
	}
	if hidden != nil {
		return nil, fmt.Errorf("tables that no other package can import:\n\t%s\n"+
			"Export them, or list them in an exported model.Tables; move those of a package main to a package of their own, or write a "+
			"program with check.Main (package github.com/asidego/aside/cachedrepo/check)", strings.Join(hidden, "\n\t"))
	}
	if found == nil {
		return nil, fmt.Errorf("no tables found in %s: looked for exported variables of type *model.Table and model.Tables", strings.Join(patterns, " "))
	}
	return programs(found), nil
}

// list asks the go command for the packages, and for the compiled form of what they import.
func list(ctx context.Context, patterns []string) (packages []*listed, err error) {
	args := append([]string{
		"list", "-e", "-export", "-deps",
		"-json=ImportPath,Dir,Name,Export,GoFiles,CgoFiles,Deps,ImportMap,DepOnly,Module,Error,DepsErrors", "--",
	}, patterns...)
	cmd := exec.CommandContext(ctx, "go", args...)
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

// declarations reads the sources of one package: what is not exported is in no other form of it.
func (p *listed) declarations(exports map[string]string) (*declared, error) {
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range slices.Concat(p.GoFiles, p.CgoFiles) {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	var wrong error
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
		Error: func(err error) {
			if wrong == nil {
				wrong = err
			}
		},
	}
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object)}
	pkg, _ := config.Check(p.ImportPath, fset, files, info)
	if wrong != nil {
		return nil, fmt.Errorf("%s does not compile: %w", p.ImportPath, wrong)
	}
	d := &declared{listed: p}
	var own []types.Object // not exported
	for _, name := range pkg.Scope().Names() {
		v, ok := pkg.Scope().Lookup(name).(*types.Var)
		if !ok {
			continue
		}
		kind := kindOf(v.Type())
		switch {
		case kind == "":
		case !v.Exported() || p.Name == "main":
			own = append(own, v)
		case kind == "Tables":
			d.many = append(d.many, name)
		default:
			d.one = append(d.one, name)
		}
	}
	listed := used(files, info, d.many)
	for _, v := range own {
		if v.Name() != "_" && (p.Name == "main" || !listed[v]) {
			d.hidden = append(d.hidden, fmt.Sprintf("%s: %s of package %s", position(fset, v), v.Name(), p.ImportPath))
		}
	}
	return d, nil
}

// kindOf is "Table" for a *model.Table, "Tables" for a model.Tables, and empty for all else.
func kindOf(t types.Type) string {
	t = types.Unalias(t)
	p, pointer := t.(*types.Pointer)
	if pointer {
		t = types.Unalias(p.Elem())
	}
	n, ok := t.(*types.Named)
	if !ok || n.Obj().Pkg() == nil || n.Obj().Pkg().Path() != model {
		return ""
	}
	if name := n.Obj().Name(); pointer && name == "Table" || !pointer && name == "Tables" {
		return name
	}
	return ""
}

// used lists what stands in the initializers of some variables.
func used(files []*ast.File, info *types.Info, names []string) map[types.Object]bool {
	all := make(map[types.Object]bool)
	for _, file := range files {
		for _, decl := range file.Decls {
			g, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range g.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || !slices.ContainsFunc(v.Names, func(n *ast.Ident) bool { return slices.Contains(names, n.Name) }) {
					continue
				}
				for _, value := range v.Values {
					ast.Inspect(value, func(n ast.Node) bool {
						if id, ok := n.(*ast.Ident); ok && info.Uses[id] != nil {
							all[info.Uses[id]] = true
						}
						return true
					})
				}
			}
		}
	}
	return all
}

func position(fset *token.FileSet, o types.Object) string {
	at := fset.Position(o.Pos())
	if wd, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(wd, at.Filename); err == nil && !strings.HasPrefix(rel, "..") {
			at.Filename = rel
		}
	}
	return fmt.Sprintf("%s:%d", at.Filename, at.Line)
}

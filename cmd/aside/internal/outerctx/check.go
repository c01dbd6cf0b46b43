// Package outerctx finds statements that a function given to Run sends on the context outside the transaction:
//
//	db.Run(ctx, func(tx context.Context) error {
//		return users.Rename(ctx, id, name) // compiles, and is no part of the transaction
//	})
//
// and variables that such a function carries from one attempt to the next.
//
// It reads code, so it sees what no test has run; it sees contexts that are passed on by name, not what becomes of them in
// a variable or another function.
package outerctx

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
)

// takesBody are the methods that run a function with a context of its own: those of txhooks.DB and cachedrepo.View, and
// whatever a service declares as its port to them.
var takesBody = map[string]bool{"Run": true, "RunWith": true, "Savepoint": true, "Write": true}

// excuse is a comment on the line, or on the line above, of a use that is meant.
const excuse = "//aside:outer"

// finding is one use of a context.
type finding struct {
	pos  token.Position
	text string
}

// check finds the uses in one package. Its files need not be free of errors.
func check(fset *token.FileSet, files []*ast.File, info *types.Info) (found []finding) {
	for _, file := range files {
		excused := excuses(fset, file)
		seen := make(map[token.Pos]bool) // by the innermost function already: which is visited last, but says the most
		var bodies []body
		ast.Inspect(file, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if b, ok := bodyOf(info, call); ok {
					bodies = append(bodies, b)
				}
			}
			return true
		})
		for i := len(bodies) - 1; i >= 0; i-- {
			b := bodies[i]
			for _, arg := range b.outer(info) {
				at := fset.Position(arg.Pos())
				if !seen[arg.Pos()] && !excused[at.Line] && !excused[at.Line-1] {
					found = append(found, finding{at, b.message(info, arg)})
				}
				seen[arg.Pos()] = true
			}
			if !b.retries {
				continue
			}
			for _, id := range b.carried(info) {
				if at := fset.Position(id.Pos()); !excused[at.Line] && !excused[at.Line-1] {
					found = append(found, finding{at, carriedMessage(id)})
				}
			}
		}
	}
	return found
}

func excuses(fset *token.FileSet, file *ast.File) map[int]bool {
	lines := make(map[int]bool)
	for _, group := range file.Comments {
		for _, c := range group.List {
			if strings.HasPrefix(c.Text, excuse) {
				lines[fset.Position(c.Pos()).Line] = true
			}
		}
	}
	return lines
}

// body is a function literal that runs in a transaction.
type body struct {
	method  string
	lit     *ast.FuncLit
	retries bool
}

// bodyOf recognises x.Run(ctx, ..., func(ctx context.Context) ...).
func bodyOf(info *types.Info, call *ast.CallExpr) (body, bool) {
	method, ok := ast.Unparen(call.Fun).(*ast.SelectorExpr)
	if !ok || !takesBody[method.Sel.Name] || len(call.Args) < 2 || !isContext(info.TypeOf(call.Args[0])) {
		return body{}, false
	}
	if s := info.Selections[method]; s == nil || s.Kind() == types.MethodExpr {
		return body{}, false // a function of another package, or a method without its receiver
	}
	for _, arg := range call.Args[1:] {
		lit, ok := ast.Unparen(arg).(*ast.FuncLit)
		if !ok {
			continue
		}
		if sig, ok := info.TypeOf(lit).(*types.Signature); ok && sig.Params().Len() > 0 && isContext(sig.Params().At(0).Type()) {
			return body{method.Sel.Name, lit, retries(call)}, true
		}
	}
	return body{}, false
}

func isContext(t types.Type) bool {
	named, ok := types.Unalias(t).(*types.Named)
	return ok && named.Obj().Name() == "Context" && named.Obj().Pkg() != nil && named.Obj().Pkg().Path() == "context"
}

// outer lists the arguments of calls in the body that are contexts from outside it: ctx, s.ctx, r.Context().
func (b body) outer(info *types.Info) (args []ast.Expr) {
	ast.Inspect(b.lit.Body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		for _, arg := range call.Args {
			if v := root(info, ast.Unparen(arg)); v != nil && isContext(info.TypeOf(arg)) &&
				(v.Pos() < b.lit.Pos() || v.Pos() >= b.lit.End()) {
				args = append(args, arg)
			}
		}
		return true
	})
	return args
}

// root is the variable that an expression begins with, nil if it is of another form.
func root(info *types.Info, e ast.Expr) *types.Var {
	switch e := e.(type) {
	case *ast.Ident:
		v, _ := info.Uses[e].(*types.Var)
		return v
	case *ast.SelectorExpr:
		if v := root(info, ast.Unparen(e.X)); v != nil {
			return v
		}
		v, _ := info.Uses[e.Sel].(*types.Var) // of a package
		return v
	case *ast.CallExpr:
		if method, ok := e.Fun.(*ast.SelectorExpr); ok && method.Sel.Name == "Context" && len(e.Args) == 0 {
			return root(info, ast.Unparen(method.X))
		}
	}
	return nil
}

func (b body) message(info *types.Info, arg ast.Expr) string {
	name := types.ExprString(arg)
	param := ""
	if names := b.lit.Type.Params.List[0].Names; len(names) > 0 {
		param = names[0].Name
	}
	if param == "" || param == "_" {
		return fmt.Sprintf("%s is the context outside the transaction; name the parameter of the function given to %s ctx, and use that", name, b.method)
	}
	if !b.uses(info, b.lit.Type.Params.List[0].Names[0]) {
		return fmt.Sprintf("%s is the context outside the transaction; the function given to %s does not use its own, %s", name, b.method, param)
	}
	return fmt.Sprintf("%s is the context outside the transaction; the function given to %s has its own, %s", name, b.method, param)
}

func (b body) uses(info *types.Info, param *ast.Ident) (used bool) {
	v := info.Defs[param]
	ast.Inspect(b.lit.Body, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && v != nil && info.Uses[id] == v {
			used = true
		}
		return !used
	})
	return used
}

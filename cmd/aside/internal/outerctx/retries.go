package outerctx

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
)

// retries tells whether a call of RunWith has options with Retries, written where the call is.
func retries(call *ast.CallExpr) bool {
	for _, arg := range call.Args {
		lit, ok := ast.Unparen(arg).(*ast.CompositeLit)
		if !ok {
			continue
		}
		for _, e := range lit.Elts {
			if kv, ok := e.(*ast.KeyValueExpr); ok {
				key, _ := kv.Key.(*ast.Ident)
				value, _ := kv.Value.(*ast.BasicLit)
				if key != nil && key.Name == "Retries" && (value == nil || value.Value != "0") {
					return true
				}
			}
		}
	}
	return false
}

// carried lists the variables from outside that a body reads, as the text goes, before it assigns to them, and then does:
//
//	p, err = products.Update(ctx, p) // run again, it has the version that was rolled back
//	n++
//	ids = append(ids, id)
//
// A second attempt then starts from what the first has left behind. Loops and branches are taken as they are written, and
// what happens to memory behind a pointer, a map or a slice is not looked at.
func (b body) carried(info *types.Info) (idents []*ast.Ident) {
	c := carrier{info: info, lit: b.lit, first: make(map[*types.Var]*ast.Ident), done: make(map[*types.Var]bool)}
	ast.Walk(&c, b.lit.Body)
	return c.found
}

type carrier struct {
	info  *types.Info
	lit   *ast.FuncLit
	first map[*types.Var]*ast.Ident // where it was read, if that came first
	done  map[*types.Var]bool       // it was assigned to
	found []*ast.Ident
}

func (c *carrier) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.Ident:
		c.read(n)
	case *ast.IncDecStmt:
		c.change(n.X)
		return nil
	case *ast.AssignStmt:
		for _, e := range n.Rhs {
			ast.Walk(c, e)
		}
		for _, e := range n.Lhs {
			if n.Tok == token.ASSIGN || n.Tok == token.DEFINE {
				c.assign(e)
			} else {
				c.change(e)
			}
		}
		return nil
	}
	return c
}

func (c *carrier) outside(id *ast.Ident) *types.Var {
	v, _ := c.info.Uses[id].(*types.Var)
	if v == nil || v.IsField() || c.lit.Pos() <= v.Pos() && v.Pos() < c.lit.End() {
		return nil
	}
	return v
}

func (c *carrier) read(id *ast.Ident) {
	if v := c.outside(id); v != nil && !c.done[v] && c.first[v] == nil {
		c.first[v] = id
	}
}

func (c *carrier) assign(e ast.Expr) {
	id, ok := ast.Unparen(e).(*ast.Ident)
	if !ok {
		ast.Walk(c, e)
		return
	}
	v := c.outside(id)
	if v == nil || c.done[v] {
		return
	}
	c.done[v] = true
	if c.first[v] != nil {
		c.found = append(c.found, id)
	}
}

// change is a read and an assignment, also of a field: s.n++.
func (c *carrier) change(e ast.Expr) {
	ast.Walk(c, e)
	for {
		switch x := ast.Unparen(e).(type) {
		case *ast.SelectorExpr:
			e = x.X
			continue
		case *ast.Ident:
			c.assign(x)
		}
		return
	}
}

func carriedMessage(id *ast.Ident) string {
	return fmt.Sprintf("%s is read and then assigned to in a function that RunWith can run again (Retries): the next attempt begins with what this one leaves in it", id.Name)
}

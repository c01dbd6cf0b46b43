// Package outer makes every mistake that is looked for, and does what looks like one.
package outer

import (
	"context"
	"net/http"
)

type db struct{}

type options struct{ Retries int }

func (db) Run(ctx context.Context, fn func(ctx context.Context) error) error { return fn(ctx) }

func (db) RunWith(ctx context.Context, o options, fn func(ctx context.Context) error) error {
	return fn(ctx)
}

func (db) Savepoint(ctx context.Context, fn func(ctx context.Context) error) error { return fn(ctx) }

func (db) Write(ctx context.Context, refs []int, fn func(ctx context.Context) error) error {
	return fn(ctx)
}

func (db) Other(ctx context.Context, fn func(ctx context.Context) error) error { return fn(ctx) }

func Run(ctx context.Context, fn func(ctx context.Context) error) error { return fn(ctx) }

type port interface {
	Run(ctx context.Context, fn func(ctx context.Context) error) error
}

func send(ctx context.Context, what string) error { return nil }

type server struct {
	ctx context.Context
	db  db
}

var base = context.Background()

func (s *server) mistakes(ctx context.Context, p port, r *http.Request) {
	_ = s.db.Run(ctx, func(tx context.Context) error {
		_ = send(tx, "")
		return send(ctx, "") // want `ctx is the context outside the transaction; the function given to Run has its own, tx`
	})
	_ = s.db.Run(ctx, func(tx context.Context) error {
		return send(ctx, "") // want `the function given to Run does not use its own, tx`
	})
	_ = s.db.RunWith(ctx, options{}, func(_ context.Context) error {
		return send(ctx, "") // want `name the parameter of the function given to RunWith ctx, and use that`
	})
	_ = s.db.Write(ctx, nil, (func(context.Context) error {
		return send((ctx), "") // want `given to Write ctx, and use that`
	}))
	_ = p.Run(ctx, func(ctx context.Context) error {
		_ = send(s.ctx, "")          // want `s.ctx is the context outside`
		_ = send(base, "")           // want `base is the context outside`
		return send(r.Context(), "") // want `r.Context\(\) is the context outside`
	})
	_ = s.db.Run(ctx, func(ctx context.Context) error {
		return s.db.Savepoint(ctx, func(inner context.Context) error {
			_ = send(inner, "")
			return send(ctx, "") // want `the function given to Savepoint has its own, inner`
		})
	})
	_ = s.db.Run(ctx, func(tx context.Context) error {
		func() {
			c, cancel := context.WithCancel(ctx) // want `ctx is the context outside`
			defer cancel()
			_ = send(c, "")
		}()
		return send(tx, "")
	})
}

func (s *server) fine(ctx context.Context) {
	var leaked context.Context
	_ = s.db.Run(ctx, func(ctx context.Context) error {
		c, cancel := context.WithCancel(ctx)
		defer cancel()
		leaked = c
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_ = s.db.Run(ctx, func(ctx context.Context) error { return send(ctx, "") })
		return send(c, "")
	})
	_ = send(leaked, "")
	_ = s.db.Run(ctx, func(tx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		_ = send(ctx, "") //aside:outer an audit row that stays when we roll back
		//aside:outer so does this one
		_ = send(ctx, "")
		return send(tx, "")
	})
	_ = s.db.Other(ctx, func(context.Context) error { return send(ctx, "") })
	_ = Run(ctx, func(context.Context) error { return send(ctx, "") })
	_ = s.db.Run(ctx, s.method)
}

func (s *server) method(context.Context) error { return send(s.ctx, "") }

func (s *server) carried(ctx context.Context, p int) {
	var err error
	var n, fresh, total int
	var ids []int
	_ = s.db.RunWith(ctx, options{Retries: 3}, func(ctx context.Context) error {
		p, err = update(ctx, p) // want `p is read and then assigned to in a function that RunWith can run again`
		if err != nil {
			return err
		}
		n++                  // want `n is read and then assigned to`
		ids = append(ids, n) // want `ids is read and then assigned to`
		fresh = 1
		fresh += n
		mine := fresh
		mine++
		total += mine //aside:outer counts attempts
		return send(ctx, "")
	})
	_ = s.db.RunWith(ctx, options{Retries: 0}, func(ctx context.Context) error {
		n++
		return send(ctx, "")
	})
	_ = s.db.Run(ctx, func(ctx context.Context) error {
		n++
		return send(ctx, "")
	})
}

func update(ctx context.Context, p int) (int, error) { return p, nil }

package txwatch

//lint:file-ignore SA1019 what is deprecated is all that older drivers have

import (
	"context"
	"database/sql/driver"
	"strings"
)

// stmt is a prepared statement, with all optional methods but one, see conn.
type stmt struct {
	driver.Stmt
	c      *conn
	query  string
	copies bool // each Exec is a row
	rows   int  // of a COPY
}

// convertingStmt is one whose driver has a ColumnConverter, for which there is nothing that would mean "none".
type convertingStmt struct{ *stmt }

func (s convertingStmt) ColumnConverter(i int) driver.ValueConverter {
	return s.Stmt.(driver.ColumnConverter).ColumnConverter(i) // older drivers
}

func (c *conn) prepared(inner driver.Stmt, query string, err error) (driver.Stmt, error) {
	if err != nil {
		return nil, err
	}
	verb, _, _ := strings.Cut(strings.TrimSpace(query), " ")
	s := &stmt{Stmt: inner, c: c, query: query, copies: strings.EqualFold(verb, "COPY")}
	if _, ok := inner.(driver.ColumnConverter); ok { // older drivers
		return convertingStmt{s}, nil
	}
	return s, nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	inner, err := c.inner.Prepare(query)
	return c.prepared(inner, query, err)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if prep, ok := c.inner.(driver.ConnPrepareContext); ok {
		inner, err := prep.PrepareContext(ctx, query)
		return c.prepared(inner, query, err)
	}
	inner, err := c.inner.Prepare(query)
	if err == nil && ctx.Err() != nil {
		_ = inner.Close()
		return nil, ctx.Err()
	}
	return c.prepared(inner, query, err)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (res driver.Result, err error) {
	var writes []Write
	first := !s.copies || s.rows == 0
	if first {
		writes = s.c.sending(ctx, s.query)
	}
	if inner, ok := s.Stmt.(driver.StmtExecContext); ok {
		res, err = inner.ExecContext(ctx, args)
	} else {
		res, err = older(ctx, args, s.Stmt.Exec) // all that the driver has
	}
	s.rows++
	if first {
		s.c.sent(ctx, writes, s.copies || changedRows(writes, res), err)
	}
	return res, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	writes := s.c.sending(ctx, s.query)
	if inner, ok := s.Stmt.(driver.StmtQueryContext); ok {
		rows, err = inner.QueryContext(ctx, args)
	} else {
		rows, err = older(ctx, args, s.Stmt.Query) // all that the driver has
	}
	s.c.sent(ctx, writes, false, err)
	return rows, err
}

func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return s.c.CheckNamedValue(v) // database/sql asks the connection where the statement cannot say
}

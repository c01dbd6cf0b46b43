package sqltext

import (
	"iter"
	"strings"
)

// Write is a table that a statement writes to by name.
type Write struct {
	Verb          string // INSERT, UPDATE, DELETE, MERGE, TRUNCATE or COPY
	Schema, Table string // as the server knows them; Schema: "" if the statement does not say
}

// Writes yields what the statements in text write to, also within WITH, EXPLAIN and PREPARE. It knows nothing of
// functions, triggers, views, rules and EXECUTE.
func Writes(text string) iter.Seq[Write] {
	return func(yield func(Write) bool) {
		s := scanner{rest: text}
		starts := true // a statement can begin here
		with := false  // one with WITH or EXPLAIN, in which one can begin behind a parenthesis too
		for {
			t := s.next()
			if t.kind == end {
				return
			}
			if starts {
				if !writes(&s, t, yield) {
					return
				}
				with = with || t.is("WITH") || t.is("EXPLAIN")
			}
			if t.punct(';') {
				with = false
			}
			starts = t.punct(';') || t.punct('(') || with && t.punct(')') ||
				t.is("EXPLAIN") || t.is("ANALYZE") || t.is("VERBOSE") || t.is("AS") // PREPARE name AS
		}
	}
}

// writes yields what a statement that begins with verb writes to.
func writes(s *scanner, verb token, yield func(Write) bool) bool {
	ahead := *s
	t := ahead.next()
	switch {
	case verb.is("INSERT") && t.is("INTO"), verb.is("MERGE") && t.is("INTO"), verb.is("DELETE") && t.is("FROM"):
		t = ahead.next()
	case verb.is("UPDATE"):
	case verb.is("COPY"):
		if !t.name() || !copiesIn(ahead) {
			return true
		}
	case verb.is("TRUNCATE"):
		if t.is("TABLE") {
			t = ahead.next()
		}
	default:
		return true
	}
	for {
		if t.is("ONLY") {
			t = ahead.next()
		}
		if t.punct('(') { // ONLY (name)
			t = ahead.next()
		}
		if !t.name() {
			return true
		}
		w := Write{Verb: strings.ToUpper(verb.text), Table: name(t)}
		t = ahead.next()
		for t.punct('.') {
			w.Schema, w.Table = w.Table, name(ahead.next())
			t = ahead.next()
		}
		if !yield(w) {
			return false
		}
		for t.punct('*') || t.punct(')') {
			t = ahead.next()
		}
		if !verb.is("TRUNCATE") || !t.punct(',') {
			return true
		}
		t = ahead.next()
	}
}

// copiesIn: COPY table (columns) FROM, not TO.
func copiesIn(s scanner) bool {
	for {
		t := s.next()
		switch {
		case t.is("FROM"):
			return true
		case t.is("TO"), t.kind == end, t.punct(';'):
			return false
		}
	}
}

// name is an identifier as the server stores it.
func name(t token) string {
	if t.kind == quoted {
		return strings.ReplaceAll(t.text, `""`, `"`)
	}
	return strings.ToLower(t.text)
}

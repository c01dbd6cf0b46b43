package sqltext

import "strings"

// Control returns the first word of a statement in text that begins or ends a transaction, "" if there is none: BEGIN,
// START TRANSACTION, COMMIT, END, ABORT, ROLLBACK but not ROLLBACK TO, PREPARE TRANSACTION. Savepoints are none.
//
// What runs within a function, a DO block or a CALL is not looked at: in a transaction block the server refuses
// transaction control there.
func Control(text string) string {
	if _, behind, _ := strings.Cut(text, ";"); strings.Trim(behind, " \t\r\n;") == "" {
		s := scanner{rest: text} // nearly every text: one statement, of which one word matters
		b := body{first: s.next()}
		return b.control(&s)
	}
	if verb := control(&scanner{rest: text}); verb != "" || !strings.Contains(text, `\'`) {
		return verb
	}
	// With standard_conforming_strings off the strings may end elsewhere, and we do not know the setting. That reading counts
	// if it makes sense to the end, for one that does not is refused by the server as a whole.
	off := scanner{rest: text, backslash: true}
	verb := control(&off)
	for verb != "" && off.next().kind != end {
	}
	if off.cut {
		return ""
	}
	return verb
}

func control(s *scanner) string {
	for {
		b := body{first: s.next()}
		if verb := b.control(s); verb != "" {
			return verb
		}
		if !b.skip(s) {
			return ""
		}
	}
}

// body is one statement while it is skipped.
type body struct {
	first, last token
	depth       int // of parentheses
	blocks      int // BEGIN ATOMIC and CASE open in it, each with an END
}

func (b *body) control(s *scanner) string {
	switch t := b.first; {
	case t.is("BEGIN"), t.is("COMMIT"), t.is("END"), t.is("ABORT"):
		return t.text
	case t.is("START"), t.is("PREPARE"):
		ahead := *s
		if ahead.next().is("TRANSACTION") {
			return t.text
		}
	case t.is("ROLLBACK"):
		ahead := *s
		second := ahead.next()
		if second.is("WORK") || second.is("TRANSACTION") {
			second = ahead.next()
		}
		if !second.is("TO") {
			return t.text
		}
	}
	return ""
}

// skip goes to the end of the statement, which is not every semicolon: those of CREATE RULE are in parentheses, those of
// an SQL function's body between BEGIN ATOMIC and END. It returns false at the end of the text.
func (b *body) skip(s *scanner) bool {
	creates := b.first.is("CREATE")
	for t := b.first; ; t = s.next() {
		switch {
		case t.kind == end:
			return false
		case t.punct(';') && b.depth <= 0 && b.blocks == 0:
			return true
		case t.punct('('):
			b.depth++
		case t.punct(')'):
			b.depth--
		case !creates || b.last.punct('.') || b.last.is("AS"):
		case t.is("ATOMIC") && b.last.is("BEGIN") && b.depth <= 0:
			b.blocks++
		case t.is("CASE") && b.blocks > 0:
			b.blocks++
		case t.is("END") && b.blocks > 0:
			b.blocks--
		}
		b.last = t
	}
}

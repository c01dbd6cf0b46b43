// Package sqltext reads SQL as PostgreSQL's lexer does, as far as it takes to say where statements begin and what they
// write to. It allocates nothing.
package sqltext

import "strings"

// kind is what a token is.
type kind uint8

const (
	end    kind = iota
	word        // a keyword or an identifier without quotes
	quoted      // an identifier in quotes, without them; "" within still stands for "
	other       // a string or a number
	symbol      // one character
)

type token struct {
	kind kind
	text string
}

// is tells whether the token is this keyword, given in capitals. Only ASCII letters are folded: PostgreSQL does not take
// the Kelvin sign for a K.
func (t token) is(keyword string) bool {
	if t.kind != word || len(t.text) != len(keyword) {
		return false
	}
	for i := range len(keyword) {
		c := t.text[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != keyword[i] {
			return false
		}
	}
	return true
}

func (t token) punct(c byte) bool { return t.kind == symbol && t.text[0] == c }

// name tells whether the token can be a name.
func (t token) name() bool { return t.kind == word || t.kind == quoted }

// scanner yields the tokens of a text.
type scanner struct {
	rest string
	// backslash: it escapes in every string, as with standard_conforming_strings off. The text does not say which it is; on
	// has been the default since PostgreSQL 9.1, and pgx insists on it where it matters to itself.
	backslash bool
	cut       bool // a string, identifier or comment does not end: the server will refuse all of the text
}

func (s *scanner) next() token {
	s.blanks()
	if s.rest == "" {
		return token{}
	}
	switch c := s.rest[0]; {
	case c == '\'':
		s.rest = s.rest[1:]
		s.str(s.backslash)
		return token{kind: other}
	case c == '"':
		return s.identifier()
	case c == '$':
		return s.dollar()
	case '0' <= c && c <= '9':
		s.take(digit)
		return token{kind: other}
	case letter(c):
		text := s.take(func(c byte) bool { return letter(c) || digit(c) || c == '$' })
		if len(text) == 1 && text[0]|0x20 == 'e' && strings.HasPrefix(s.rest, "'") {
			s.rest = s.rest[1:]
			s.str(true)
			return token{kind: other}
		}
		// U&"..." and U&'...', b'', n'' and x'': what their quotes hold is found by the same rules as without the letter, except
		// that U&'...' needs standard_conforming_strings.
		return token{word, text}
	}
	text := s.rest[:1]
	s.rest = s.rest[1:]
	return token{symbol, text}
}

func letter(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' || c >= 0x80
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

func (s *scanner) take(of func(byte) bool) string {
	n := 1
	for n < len(s.rest) && of(s.rest[n]) {
		n++
	}
	text := s.rest[:n]
	s.rest = s.rest[n:]
	return text
}

// blanks skips white space and comments, which nest and which begin within an operator too. It tells whether there was the
// end of a line.
func (s *scanner) blanks() (newline bool) {
	for {
		switch {
		case s.rest == "":
			return newline
		case strings.HasPrefix(s.rest, "--"):
			if i := strings.IndexAny(s.rest, "\r\n"); i >= 0 {
				s.rest = s.rest[i:]
			} else {
				s.rest = ""
			}
		case strings.HasPrefix(s.rest, "/*"):
			s.comment()
		case s.rest[0] == '\n' || s.rest[0] == '\r':
			newline = true
			s.rest = s.rest[1:]
		case s.rest[0] == ' ' || s.rest[0] == '\t' || s.rest[0] == '\f' || s.rest[0] == '\v':
			s.rest = s.rest[1:]
		default:
			return newline
		}
	}
}

func (s *scanner) comment() {
	depth := 0
	for s.rest != "" {
		switch {
		case strings.HasPrefix(s.rest, "/*"):
			depth++
			s.rest = s.rest[2:]
		case strings.HasPrefix(s.rest, "*/"):
			depth--
			s.rest = s.rest[2:]
			if depth == 0 {
				return
			}
		default:
			s.rest = s.rest[1:]
		}
	}
	s.cut = true
}

// str skips a string from behind its first quote. One that goes on behind the end of a line is one string still, and its
// backslashes are what they were.
func (s *scanner) str(backslash bool) {
	for {
		i := strings.IndexAny(s.rest, `'\`)
		switch {
		case i < 0:
			s.rest, s.cut = "", true
			return
		case s.rest[i] == '\\':
			if !backslash {
				s.rest = s.rest[i+1:]
			} else if i+2 <= len(s.rest)-1 {
				s.rest = s.rest[i+2:]
			} else {
				s.rest, s.cut = "", true
				return
			}
			continue
		}
		s.rest = s.rest[i+1:]
		if strings.HasPrefix(s.rest, "'") {
			s.rest = s.rest[1:]
			continue
		}
		ahead := *s
		if !ahead.blanks() || !strings.HasPrefix(ahead.rest, "'") {
			return
		}
		s.rest = ahead.rest[1:]
	}
}

func (s *scanner) identifier() token {
	for i := 1; i < len(s.rest); i++ {
		if s.rest[i] != '"' {
			continue
		}
		if strings.HasPrefix(s.rest[i+1:], `"`) {
			i++
			continue
		}
		text := s.rest[1:i]
		s.rest = s.rest[i+1:]
		return token{quoted, text}
	}
	s.rest, s.cut = "", true
	return token{kind: other}
}

// dollar is $tag$...$tag$, a parameter, or a lone $.
func (s *scanner) dollar() token {
	n := 1
	for n < len(s.rest) && (letter(s.rest[n]) || n > 1 && digit(s.rest[n])) {
		n++
	}
	if n < len(s.rest) && s.rest[n] == '$' {
		tag := s.rest[:n+1]
		_, rest, found := strings.Cut(s.rest[n+1:], tag)
		s.rest, s.cut = rest, s.cut || !found
		return token{kind: other}
	}
	s.take(digit)
	return token{kind: other}
}

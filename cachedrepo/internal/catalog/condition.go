package catalog

import (
	"regexp"
	"strings"
)

const typeName = `[a-z_][a-z0-9_.]*( varying| precision| with(out)? time zone)?(\([0-9, ]+\))?(\[\])?`

var (
	castText    = regexp.MustCompile(`::text(\[\])?`)                       // a varchar is compared as text
	castLiteral = regexp.MustCompile(`^::` + typeName)                      // after a quote
	castNumber  = regexp.MustCompile(`\(?(-?[0-9][0-9.]*)\)?::` + typeName) // (1)::bigint
	lonely      = regexp.MustCompile(`(^|[\s(=<>!+*/,-])\(([a-z_0-9.$]+|"[^"]+"|'[^']*'|-?[0-9.]+)\)`)
	array       = regexp.MustCompile(`\(\((array\[[^\]]*\])\)\)`)
	in          = regexp.MustCompile(` in ?\(([^()]*)\)`)
	notIn       = regexp.MustCompile(` not in ?\(([^()]*)\)`)
	spaces      = regexp.MustCompile(`\s+`)
	commas      = regexp.MustCompile(` ?, ?`)
	signs       = regexp.MustCompile(`\s*(<>|!=|<=|>=|=|<|>)\s*`)
)

// normal brings two ways of writing a condition together: that of people and that of PostgreSQL, which adds casts and
// parentheses. What stands in quotes is left as it is. The empty condition is "".
func normal(s string) string {
	parts := quotes(s)
	for i, p := range parts {
		if i%2 == 0 {
			p = strings.ToLower(p)
			if i > 0 {
				p = castLiteral.ReplaceAllString(p, "")
			}
			p = castText.ReplaceAllString(p, "")
			p = castNumber.ReplaceAllString(p, "$1")
			p = commas.ReplaceAllString(spaces.ReplaceAllString(p, " "), ", ")
			p = signs.ReplaceAllString(p, " $1 ")
			parts[i] = strings.ReplaceAll(p, "!=", "<>")
		}
	}
	s = strings.Join(parts, "")
	for {
		was := s
		s = strings.TrimSpace(spaces.ReplaceAllString(s, " "))
		s = lonely.ReplaceAllString(s, "$1$2")
		s = array.ReplaceAllString(s, "($1)")
		s = notIn.ReplaceAllString(s, " <> all (array[$1])")
		s = in.ReplaceAllString(s, " = any (array[$1])")
		if enclosed(s) {
			s = s[1 : len(s)-1]
		}
		if s == was {
			return s
		}
	}
}

// quotes cuts a text at its quotes: every other part is quoted, with its quotes.
func quotes(s string) []string {
	var parts []string
	from, quote := 0, byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quote == 0 && (c == '\'' || c == '"'):
			parts = append(parts, s[from:i])
			from, quote = i, c
		case quote != 0 && c == quote:
			parts = append(parts, s[from:i+1])
			from, quote = i+1, 0
		}
	}
	return append(parts, s[from:])
}

// enclosed tells whether one pair of parentheses goes around everything.
func enclosed(s string) bool {
	if len(s) < 2 || s[0] != '(' || s[len(s)-1] != ')' {
		return false
	}
	depth, quoted := 0, byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
		case c == '\'' || c == '"':
			quoted = c
		case c == '(':
			depth++
		case c == ')':
			if depth--; depth == 0 && i < len(s)-1 {
				return false
			}
		}
	}
	return depth == 0
}

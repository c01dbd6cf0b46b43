package outbox

import (
	"encoding/json"
	"errors"
	"strings"
)

// rows are images as texts. They stand in JSON as arrays of arrays, as a Stager writes them, or, as a trigger does, as the
// text of an array of PostgreSQL, {{1,a},{2,NULL}}: ten thousand of them cost the writer half as much.
type rows [][]*string

// UnmarshalJSON reads both.
func (r *rows) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] != '"' {
		return json.Unmarshal(b, (*[][]*string)(r))
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return err
	}
	var err error
	*r, err = rowsOfArray(text)
	return err
}

var errArray = errors.New("not an array of rows")

// rowsOfArray reads an array of two dimensions, or an empty one.
func rowsOfArray(text string) (rows, error) {
	if text == "{}" {
		return nil, nil
	}
	rest, ok := strings.CutPrefix(text, "{")
	if !ok {
		return nil, errArray
	}
	var all rows
	for {
		if rest, ok = strings.CutPrefix(rest, "{"); !ok {
			return nil, errArray
		}
		var row []*string
		for ended := false; !ended; {
			value, next, err := element(rest)
			if err != nil {
				return nil, err
			}
			row = append(row, value)
			ended, rest = next[0] == '}', next[1:]
		}
		all = append(all, row)
		switch {
		case rest == "}":
			return all, nil
		case strings.HasPrefix(rest, ","):
			rest = rest[1:]
		default:
			return nil, errArray
		}
	}
}

// element reads one value, nil for NULL; rest begins with the comma or brace that ends it.
func element(text string) (value *string, rest string, err error) {
	if quoted, ok := strings.CutPrefix(text, `"`); ok {
		var b strings.Builder
		for i := 0; i < len(quoted); i++ {
			switch quoted[i] {
			case '"':
				s := b.String()
				if rest = quoted[i+1:]; rest == "" || rest[0] != ',' && rest[0] != '}' {
					return nil, "", errArray
				}
				return &s, rest, nil
			case '\\':
				if i++; i == len(quoted) {
					return nil, "", errArray
				}
			}
			b.WriteByte(quoted[i])
		}
		return nil, "", errArray
	}
	end := strings.IndexAny(text, `,{}"\`)
	if end <= 0 || text[end] != ',' && text[end] != '}' {
		return nil, "", errArray
	}
	if s := text[:end]; s != "NULL" { // PostgreSQL quotes a text that reads so
		value = &s
	}
	return value, text[end:], nil
}

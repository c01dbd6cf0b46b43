package txhooks

import (
	"fmt"
	"strings"
)

// refuseControl keeps statements from ending the transaction behind our back: what follows would commit by itself, and
// pgx answers a COMMIT after that with success. It looks at the first word alone: what stands further back in a string
// of several statements gets through.
func refuseControl(query string) error {
	query = afterComments(query)
	words := strings.FieldsFunc(query[:min(len(query), 64)], func(r rune) bool { return r <= ' ' || r == ';' })
	if len(words) == 0 {
		return nil
	}
	verb, second := strings.ToUpper(words[0]), ""
	if len(words) > 1 {
		second = strings.ToUpper(words[1])
	}
	switch verb {
	case "ROLLBACK":
		if second == "TO" || (len(words) > 2 && strings.EqualFold(words[2], "TO")) {
			return nil
		}
	case "START", "PREPARE":
		if second != "TRANSACTION" {
			return nil
		}
	case "BEGIN", "COMMIT", "END", "ABORT":
	default:
		return nil
	}
	return fmt.Errorf("aside: %s in a transaction of Run: it would end it behind Run's back", verb)
}

// afterComments cuts off what generators and tracers put before a statement. Of a comment within a comment it leaves a
// rest, which begins with no verb.
func afterComments(query string) string {
	for {
		query = strings.TrimLeft(query, " \t\r\n;")
		switch {
		case strings.HasPrefix(query, "--"):
			_, query, _ = strings.Cut(query, "\n")
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
		default:
			return query
		}
	}
}

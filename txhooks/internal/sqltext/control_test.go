package sqltext

import (
	"strings"
	"testing"
)

var controls = map[string]string{
	"":                                   "",
	";":                                  "",
	"SELECT 1":                           "",
	"SELECT 1; SELECT 2;":                "",
	"COMMIT":                             "COMMIT",
	" commit;":                           "commit",
	"; ;COMMIT":                          "COMMIT",
	"SELECT 1; COMMIT":                   "COMMIT",
	"SELECT 1;COMMIT;SELECT 2":           "COMMIT",
	"SELECT 1; /* a /* ; */ b */ END":    "END",
	"SELECT 1; -- x\n ABORT":             "ABORT",
	"SELECT 1; -- x\rABORT":              "ABORT", // a carriage return ends a comment too
	"SELECT 1; -- x; COMMIT":             "",
	"SELECT 1 -- ;\n; ROLLBACK":          "ROLLBACK",
	"/* COMMIT */ SELECT ';COMMIT'":      "",
	"SELECT 1 +--;\n2; COMMIT":           "COMMIT", // a comment begins within an operator
	"SELECT 1 @/*;COMMIT*/ 2":            "",
	"BEGIN":                              "BEGIN",
	"START TRANSACTION":                  "START",
	"START\n/**/TRANSACTION":             "START",
	"PREPARE TRANSACTION 'x'":            "PREPARE",
	"PREPARE p AS SELECT 1":              "",
	"COMMIT PREPARED 'x'":                "COMMIT",
	"COMMIT AND CHAIN":                   "COMMIT",
	"ROLLBACK AND CHAIN":                 "ROLLBACK",
	"ROLLBACK PREPARED 'x'":              "ROLLBACK",
	"SAVEPOINT s; RELEASE s":             "",
	"ROLLBACK TO s":                      "",
	"ROLLBACK WORK TO SAVEPOINT s":       "",
	"ROLLBACK TRANSACTION TO s":          "",
	"ROLLBACK WORK":                      "ROLLBACK",
	"UPDATE note SET body = 'COMMIT'":    "",
	"UPDATE note SET body = ';COMMIT'":   "",
	"SELECT 'it''s'; COMMIT":             "COMMIT",
	"SELECT 'it''s; COMMIT'":             "",
	`SELECT "a;""COMMIT"`:                "",
	`SELECT "a;"; COMMIT`:                "COMMIT",
	`"commit"`:                           "",
	"SELECT commit":                      "",
	"COMMIT_LOG":                         "",
	"commit$1":                           "",
	"ROLLBAC\u212a":                      "", // the Kelvin sign
	`SELECT E'\'; COMMIT; --'`:           "",
	`SELECT e'\\'; COMMIT`:               "COMMIT",
	"SELECT E'a'\n'\\'; COMMIT; '":       "", // one string in two parts
	"SELECT E'a'\n'\\'; COMMIT; '; END":  "END",
	"SELECT E'a' '\\'; COMMIT":           "COMMIT", // two strings, the second without E
	"SELECT E'a' -- ;\n '\\'; COMMIT; '": "",
	`SELECT some'\'; COMMIT; --'`:        "COMMIT",
	`SELECT '\'; COMMIT; --'`:            "COMMIT",
	`SELECT '\', ';COMMIT`:               "COMMIT", // the same; with it on the last string does not end
	`SELECT U&'\'; COMMIT`:               "COMMIT",
	`SELECT N'\'; COMMIT`:                "COMMIT",
	`SELECT 'a\'';COMMIT; SELECT ''''`:   "COMMIT", // with standard_conforming_strings off
	`INSERT INTO a VALUES ('C:\', 'x')`:  "",
	"SELECT $$;COMMIT$$":                 "",
	"SELECT $a$;COMMIT$$;END$a$":         "",
	"SELECT $a$ $a$; COMMIT":             "COMMIT",
	"SELECT $1; COMMIT":                  "COMMIT",
	"SELECT $1$$;COMMIT$$":               "",
	"SELECT a$$;COMMIT":                  "COMMIT", // a$$ is a name
	"SELECT $é$;COMMIT$é$":               "",
	"SELECT 1$$;COMMIT$$":                "",
	"DO $$ BEGIN COMMIT; END $$":         "",
	"CREATE RULE r AS ON INSERT TO a DO (DELETE FROM b; END)":                           "",
	"CREATE RULE r AS ON INSERT TO a DO (DELETE FROM b); END":                           "END",
	"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE 1 END; END":     "",
	"CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1 AS end; END; COMMIT":         "COMMIT",
	"CREATE OR REPLACE PROCEDURE p() BEGIN ATOMIC INSERT INTO a VALUES (1); END; BEGIN": "BEGIN",
	"CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT":            "COMMIT",
	"CREATE FUNCTION f(begin atomic) RETURNS int LANGUAGE sql AS 'SELECT 1'; COMMIT":    "COMMIT",
	"SELECT 1 AS begin, atomic; COMMIT":                                                 "COMMIT",
	"SELECT (1;COMMIT":                                                                  "", // not closed: refused as a whole
}

func TestControl(t *testing.T) {
	for text, want := range controls {
		if got := Control(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	text := "SELECT 'a', E'\\'', $x$ $x$ FROM \"b\" -- c\n; SELECT 2"
	if n := testing.AllocsPerRun(100, func() { Control(text) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Whatever the text is, it is read to its end, and what is put into a string or a comment is not found.
func FuzzControl(f *testing.F) {
	for text := range controls {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		Control(text)
		for range Writes(text) {
		}
		if strings.ContainsAny(text, `'\`) {
			return
		}
		for _, hidden := range []string{"SELECT '" + text + "'", "SELECT E'" + text + "'"} {
			if verb := Control(hidden); verb != "" {
				t.Errorf("%q: %s", hidden, verb)
			}
		}
		if !strings.ContainsAny(text, "\"") {
			if verb := Control(`SELECT "` + text + `"`); verb != "" {
				t.Errorf("in an identifier: %s", verb)
			}
		}
		if !strings.Contains(text, "$") {
			if verb := Control("SELECT $x$" + text + "$x$"); verb != "" {
				t.Errorf("in dollar quotes: %s", verb)
			}
		}
		if !strings.ContainsAny(text, "*/") {
			if verb := Control("/*" + text + "*/ SELECT 1"); verb != "" {
				t.Errorf("in a comment: %s", verb)
			}
		}
	})
}

package sqltext

import (
	"fmt"
	"strings"
	"testing"
)

func TestWrites(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"SELECT * FROM note":                                                  "",
		"INSERT INTO note VALUES (1)":                                         "INSERT .note",
		"insert into Shop.Note as n (id) values (1)":                          "INSERT shop.note",
		`UPDATE "Shop"."No""te" SET a = 1`:                                    `UPDATE Shop.No"te`,
		"UPDATE ONLY note * SET a = 1":                                        "UPDATE .note",
		"DELETE FROM ONLY note":                                               "DELETE .note",
		"DELETE FROM db.shop.note":                                            "DELETE shop.note",
		"MERGE INTO note USING x ON TRUE WHEN MATCHED THEN DELETE":            "MERGE .note",
		"TRUNCATE note":                                                       "TRUNCATE .note",
		"TRUNCATE TABLE ONLY a, b.c *, d CASCADE":                             "TRUNCATE .a; TRUNCATE b.c; TRUNCATE .d",
		"COPY note (id, body) FROM STDIN":                                     "COPY .note",
		"COPY note TO STDOUT":                                                 "",
		"COPY (SELECT 1 FROM note) TO STDOUT":                                 "",
		"COPY (DELETE FROM note RETURNING *) TO STDOUT":                       "DELETE .note",
		"WITH a AS (INSERT INTO note VALUES (1) RETURNING *) SELECT * FROM a": "INSERT .note",
		"WITH a AS MATERIALIZED (UPDATE note SET a = 1) DELETE FROM b":        "UPDATE .note; DELETE .b",
		"EXPLAIN (ANALYZE) DELETE FROM note":                                  "DELETE .note",
		"EXPLAIN ANALYZE VERBOSE UPDATE note SET a = 1":                       "UPDATE .note",
		"PREPARE p AS DELETE FROM note":                                       "DELETE .note",
		"SELECT 1; /* x */ DELETE FROM note":                                  "DELETE .note",
		"SELECT * FROM note FOR UPDATE":                                       "",
		"SELECT * FROM note FOR NO KEY UPDATE OF note":                        "",
		"SELECT 'DELETE FROM note', $$;UPDATE note SET a = 1$$":               "",
		"SELECT a, delete FROM note":                                          "",
		"SELECT f(x) FROM note":                                               "",
		"INSERT INTO note VALUES (1) ON CONFLICT DO UPDATE SET a = 1":         "INSERT .note",
		"CREATE TRIGGER t AFTER UPDATE ON note EXECUTE FUNCTION f()":          "",
		"UPDATE":      "",
		"DELETE FROM": "",
	} {
		var got []string
		for w := range Writes(text) {
			got = append(got, fmt.Sprintf("%s %s.%s", w.Verb, w.Schema, w.Table))
		}
		if got := strings.Join(got, "; "); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

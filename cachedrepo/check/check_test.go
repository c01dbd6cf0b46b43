package check

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type user struct {
	ID    int64  `db:"id"`
	Email string `db:"email"`
}

var (
	byEmail = model.NewUnique[user, string]("email")
	users   = model.MustTable(model.Spec[user, int64]{Name: "users", Key: "id", Indexes: model.Indexes[user]{byEmail}})
	none    *model.Table[user, int64]
)

const schema = "CREATE EXTENSION citext; CREATE TABLE users (id bigint PRIMARY KEY, email citext NOT NULL UNIQUE)"

func codes(l finding.List) string {
	var out []string
	for _, f := range l {
		out = append(out, f.Severity.String()+" "+f.Code)
	}
	return strings.Join(out, ", ")
}

func TestTables(t *testing.T) {
	db := testenv.PostgresWith(t, schema).Open(t)
	for _, test := range []struct {
		tables model.Tables
		allow  []string
		want   string
	}{
		{model.Tables{users, users}, nil, "refuse key-equality, note lock-timeout"},
		{model.Tables{users}, []string{"key-equality:users"}, "warn key-equality, note lock-timeout"},
		{nil, nil, "note lock-timeout"},
	} {
		list, err := Tables(t.Context(), db, test.tables, test.allow)
		if err != nil || codes(list) != test.want {
			t.Errorf("%v, %v, want %s", list, err, test.want)
		}
	}
	if _, err := Tables(t.Context(), db, model.Tables{users, none}, nil); err == nil || !strings.Contains(err.Error(), "table 2 of 2") {
		t.Error(err)
	}
	if _, err := Tables(t.Context(), db, nil, []string{"key_equality:users"}); err == nil {
		t.Error("a code that does not exist is allowed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Tables(ctx, db, model.Tables{users}, nil); err == nil {
		t.Error("no error without a database")
	}
}

func TestMainProgram(t *testing.T) {
	pg := testenv.PostgresWith(t, schema)
	for _, test := range []struct {
		args []string
		code int
		want string // of both outputs
	}{
		{[]string{"-dsn", pg.URL()}, 1, "refuse key-equality users.email"},
		{[]string{"-dsn", pg.URL(), "-json"}, 1, `"code": "key-equality"`},
		{[]string{"-dsn", pg.URL(), "-allow", "key-equality:users"}, 0, "warn key-equality users.email"},
		{[]string{"-dsn", "postgres://127.0.0.1:1/x"}, 2, "refused"},
		{nil, 2, "DATABASE_URL"},
		{[]string{"-x"}, 2, "-x"},
	} {
		t.Setenv("DATABASE_URL", "")
		var out, said bytes.Buffer
		code := run(t.Context(), model.Tables{users}, test.args, &out, &said)
		if code != test.code || !strings.Contains(out.String()+said.String(), test.want) {
			t.Errorf("%q: status %d, %s %s", test.args, code, &out, &said)
		}
	}
}

// The two sides of "aside check", and what each says when the other leaves.
func TestAskAndAnswer(t *testing.T) {
	db := testenv.PostgresWith(t, schema).Open(t)
	names, toAsk := io.Pipe()
	facts, toAnswer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- answer(facts, toAsk, model.Tables{users})
		_ = toAsk.Close()
	}()
	list, err := Ask(t.Context(), db, names, toAnswer, []string{"key-equality:users"})
	if err != nil || codes(list) != "warn key-equality, note lock-timeout" {
		t.Errorf("%v, %v", list, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if _, err := Ask(t.Context(), db, strings.NewReader(""), io.Discard, nil); err == nil || !strings.Contains(err.Error(), "ended early") {
		t.Error(err)
	}
	if _, err := Ask(t.Context(), db, strings.NewReader(`{"tables":["users"]}`), io.Discard, nil); err == nil {
		t.Error("no findings are no error")
	}
	if err := answer(strings.NewReader(""), io.Discard, model.Tables{users}); err == nil || !strings.Contains(err.Error(), "no facts") {
		t.Error(err)
	}
}

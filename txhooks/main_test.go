package txhooks

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const schema = `
	CREATE TABLE note (id bigint PRIMARY KEY, body text);
	CREATE TABLE users (id bigint PRIMARY KEY, email text UNIQUE NOT NULL, team_id bigint, credits int NOT NULL DEFAULT 0);
	CREATE TABLE comment (id bigint PRIMARY KEY, note_id bigint REFERENCES note DEFERRABLE INITIALLY DEFERRED);
	CREATE SCHEMA club;
	CREATE TABLE club."Member" (team bigint, member bigint, nick text, PRIMARY KEY (team, member));
`

var drivers = []string{"postgres", "pgx"}

// everyDriver runs a test on each driver, with a database of its own.
func everyDriver(t *testing.T, test func(t *testing.T, db *DB)) {
	t.Parallel()
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			test(t, open(t, driver, Config{}))
		})
	}
}

func open(t *testing.T, driver string, cfg Config) *DB {
	t.Helper()
	return New(testenv.Open(t, driver, testenv.PostgresWith(t, schema).URL()), cfg)
}

func exec(t *testing.T, db *DB, ctx context.Context, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(ctx, query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func insert(t *testing.T, db *DB, ctx context.Context, id int) {
	t.Helper()
	exec(t, db, ctx, "INSERT INTO note VALUES ($1, $2)", id, "hello")
}

// notes returns the ids in the table note as others see them.
func notes(t *testing.T, db *DB) string {
	t.Helper()
	return notesOf(t, db.conn)
}

func notesOf(t *testing.T, db *sqlx.DB) string {
	t.Helper()
	var ids string
	err := db.GetContext(context.Background(), &ids, "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM note")
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func wantNotes(t *testing.T, db *DB, want string) {
	t.Helper()
	if got := notes(t, db); got != want {
		t.Errorf("rows in the table: %q, want %q", got, want)
	}
}

// idle checks that all connections are back in the pool.
func idle(t *testing.T, db *DB) {
	t.Helper()
	if n := db.conn.Stats().InUse; n != 0 {
		t.Errorf("%d connections are still in use", n)
	}
}

// journal takes down what happens in which order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) hook(line string) func(context.Context) {
	return func(context.Context) { j.add(line) }
}

func (j *journal) end(line string) func(context.Context, Outcome) {
	return func(_ context.Context, o Outcome) { j.add(line + " " + o.String()) }
}

func (j *journal) want(t *testing.T, lines ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if got, want := strings.Join(j.lines, "; "), strings.Join(lines, "; "); got != want {
		t.Errorf("journal: %s\n   want: %s", got, want)
	}
}

// recorder is a Subscriber.
type recorder struct {
	journal
	mu      sync.Mutex
	changes []Change
	pending int
	ended   func(ctx context.Context)
}

func (r *recorder) Ended(ctx context.Context, o Outcome, changes Changes) int {
	r.add("subscriber " + o.String())
	r.mu.Lock()
	r.changes = slices.AppendSeq(r.changes, changes.All())
	r.mu.Unlock()
	if r.ended != nil {
		r.ended(ctx)
	}
	return r.pending
}

// take returns the changes since the last take as "1,a@x,7>1,b@x,7".
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	lines := []string{}
	for _, c := range r.changes {
		lines = append(lines, imageText(c.Before)+">"+imageText(c.After))
	}
	r.changes = nil
	return lines
}

func imageText(image model.Image) string {
	parts := make([]string, len(image))
	for i, d := range image {
		parts[i] = d.String()
	}
	return strings.Join(parts, ",")
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

type note struct {
	ID   int64  `db:"id"`
	Body string `db:"body"`
}

type user struct {
	ID      int64  `db:"id"`
	Email   string `db:"email"`
	Team    *int64 `db:"team_id"`
	Credits int    `db:"credits"`
}

type memberKey struct {
	Member int64 `db:"member"`
	Team   int64 `db:"team"`
}

type member struct {
	Team   int64  `db:"team"`
	Member int64  `db:"member"`
	Nick   string `db:"nick"`
}

var (
	notesTable = model.MustTable(model.Spec[note, int64]{Name: "note", Key: "id"})
	byEmail    = model.NewUnique[user, string]("email")
	byTeam     = model.NewIndex[user, int64]("team_id")
	users      = model.MustTable(model.Spec[user, int64]{
		Name: "users", Key: "id", Indexes: model.Indexes[user]{byEmail, byTeam},
	})
	byNick  = model.NewIndex[member, string]("nick")
	members = model.MustTable(model.Spec[member, memberKey]{
		Name: "club.Member", Indexes: model.Indexes[member]{byNick},
	})
)

var errBoom = errors.New("boom")

func change(id int64) Change {
	return Change{Relation: notesTable.Relation(), After: model.Image{{Kind: model.Int, Int: id}}}
}

package outbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/testenv"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

func TestMain(m *testing.M) {
	if Writer != nil && os.Getenv(WriterVariable) != "" {
		Writer()
		return
	}
	testenv.Main(m)
}

// Writer is what this test binary does when WriterVariable has it be one of several processes. The tests with real caches
// set it: they are outside the package, for the cache knows nothing of the outbox, nor the outbox of the cache.
var Writer func()

// WriterVariable is host:port, key prefix and URL of a process's servers.
const WriterVariable = "ASIDE_TEST_OUTBOX"

// Schema is that of the outbox's own tables.
func Schema(t testing.TB) string { return schema(t) }

// patience bounds what is waited for on a machine that is busy with other tests.
const patience = 20 * time.Second

type song struct {
	ID    int64  `db:"id"`
	Title string `db:"title"`
}

const songSchema = "CREATE TABLE songs (id bigint PRIMARY KEY, title text NOT NULL);"

var (
	byTitle = model.NewUnique[song, string]("title")
	songs   = model.MustTable(model.Spec[song, int64]{Name: "songs", Key: "id", Indexes: model.Indexes[song]{byTitle}})
	bare    = model.MustTable(model.Spec[song, int64]{Name: "songs", Key: "id"}) // of a version that does not know the index
	others  = model.MustTable(model.Spec[song, int64]{Name: "others", Key: "id"})
)

// database returns a database with the outbox's tables.
func database(t *testing.T) *testenv.PG {
	t.Helper()
	return testenv.PostgresWith(t, schema(t))
}

func schema(t testing.TB) string {
	t.Helper()
	text := songSchema
	for _, name := range []string{"0003_outbox", "0004_capture"} {
		made, err := os.ReadFile("../../migrations/sql/" + name + ".up.sql")
		if err != nil {
			t.Fatal(err)
		}
		text += string(made)
	}
	return text
}

// consumer remembers what it was told.
type consumer struct {
	name    string
	indexes []string
	table   *model.Relation
	deliver func(ctx context.Context, told []string) error // nil: nothing fails
	retire  func() error

	mu      sync.Mutex
	told    []string // images, as "7=Yesterday"
	ids     []txhooks.ID
	retired []string
}

func newConsumer(name string) *consumer {
	return &consumer{name: name, indexes: []string{"songs.id", "songs.title"}, table: songs.Relation()}
}

func (c *consumer) Namespace() string            { return c.name }
func (c *consumer) Declares() []string           { return c.indexes }
func (c *consumer) Relations() []*model.Relation { return []*model.Relation{c.table} }

func (c *consumer) Deliver(ctx context.Context, transactions ...txhooks.Changes) error {
	var told []string
	var ids []txhooks.ID
	for _, changes := range transactions {
		ids = append(ids, changes.ID())
		for ch := range changes.All() {
			for _, img := range []model.Image{ch.Before, ch.After} {
				if img != nil {
					told = append(told, textOf(img))
				}
			}
		}
	}
	if c.deliver != nil {
		if err := c.deliver(ctx, told); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told, c.ids = append(c.told, told...), append(c.ids, ids...)
	return nil
}

func textOf(img model.Image) string {
	texts := make([]string, len(img))
	for i, d := range img {
		texts[i] = d.String()
	}
	return strings.Join(texts, "=")
}

func (c *consumer) RetireIndexes(_ context.Context, indexes ...*model.Access) error {
	if c.retire != nil {
		if err := c.retire(); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(indexes) == 0 {
		c.retired = append(c.retired, "all")
	}
	for _, a := range indexes {
		c.retired = append(c.retired, a.Name)
	}
	return nil
}

func (c *consumer) heard() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.told)
}

func (c *consumer) ended() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.retired, " ")
}

// errGone is an error of a store.
type errGone struct{}

func (errGone) Error() string { return "the store is away" }
func (errGone) Away() bool    { return true }

var errBad = errors.New("these changes are bad")

// studio is a pool of connections with what uses it.
type studio struct {
	conn *sqlx.DB
	db   *txhooks.DB
}

func open(t *testing.T, url string) *studio {
	t.Helper()
	conn := testenv.Open(t, "postgres", url)
	return &studio{conn, txhooks.New(conn, txhooks.Config{Logger: quiet()})}
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// fast is a Config for tests that wait for the relay.
func fast() Config {
	return Config{Poll: 10 * time.Millisecond, Grace: 20 * time.Millisecond, Logger: quiet()}
}

// quietly is a Config whose relay does nothing while a test runs.
func quietly() Config { return Config{Poll: time.Hour, Logger: quiet()} }

func (s *studio) start(t *testing.T, c Consumer, cfg Config) *Outbox {
	t.Helper()
	cfg.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	o, err := Start(s.db, c, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return o
}

// record inserts a song in a transaction.
func (s *studio) record(t *testing.T, ids ...int64) {
	t.Helper()
	if err := s.tryRecord(t.Context(), ids...); err != nil {
		t.Fatal(err)
	}
}

func (s *studio) tryRecord(ctx context.Context, ids ...int64) error {
	return s.db.Run(ctx, func(ctx context.Context) error {
		for _, id := range ids {
			title := fmt.Sprint("t", id)
			if _, err := s.db.ExecContext(ctx, "INSERT INTO songs VALUES ($1, $2)", id, title); err != nil {
				return err
			}
			if err := s.db.Changed(ctx, txhooks.Change{Relation: songs.Relation(), After: image(id, title)}); err != nil {
				return err
			}
		}
		return nil
	})
}

func image(id int64, title string) model.Image {
	return model.Image{{Kind: model.Int, Int: id}, {Kind: model.Text, Text: title}}
}

// capture puts a row into the outbox as a trigger does.
func (s *studio) capture(t *testing.T, changes string) {
	t.Helper()
	s.conn.MustExec("INSERT INTO aside_outbox (changes) VALUES ($1::text::jsonb)", changes)
}

func captured(table string, columns string, values ...string) string {
	return fmt.Sprintf(`[{"t": %q, "op": "I", "c": [%s], "a": [[%s]]}]`, table, columns, strings.Join(values, ", "))
}

func (s *studio) count(t *testing.T, query string, args ...any) (n int) {
	t.Helper()
	if err := s.conn.Get(&n, query, args...); err != nil {
		t.Fatal(err)
	}
	return n
}

const (
	openRows = "SELECT count(*) FROM aside_outbox WHERE done_at IS NULL"
	doneRows = "SELECT count(*) FROM aside_outbox WHERE done_at IS NOT NULL"
)

// until waits for a count.
func (s *studio) until(t *testing.T, want int, query string, args ...any) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d: %s", want, query), func() bool { return s.count(t, query, args...) == want })
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func (c *consumer) hears(t *testing.T, want ...string) {
	t.Helper()
	eventually(t, "told "+strings.Join(want, " "), func() bool {
		told := c.heard()
		for _, w := range want {
			if !slices.Contains(told, w) {
				return false
			}
		}
		return true
	})
}

// pending is a subscriber that could not invalidate everything.
type pending struct{}

func (pending) Ended(context.Context, txhooks.Outcome, txhooks.Changes) int { return 1 }

// unfinished has this studio's transactions leave their rows to the relay.
func (s *studio) unfinished(t *testing.T) {
	t.Cleanup(s.db.Subscribe(pending{}))
}

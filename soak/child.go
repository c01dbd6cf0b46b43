package soak

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/jmoiron/sqlx"
	_ "github.com/lib/pq" // the driver "postgres"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/cachedrepo/redisstore"
	"github.com/asidego/aside/internal/faultpoint"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
	"github.com/asidego/aside/txhooks/outbox"
)

// settingVariable holds a child's setting.
const settingVariable = "ASIDE_SOAK_CHILD"

// Child runs the child that the environment describes, if it does, and tells whether it did: the first thing of a main or
// TestMain.
func Child() bool {
	text := os.Getenv(settingVariable)
	if text == "" {
		return false
	}
	c := &child{out: json.NewEncoder(os.Stdout)}
	err := json.Unmarshal([]byte(text), &c.setting)
	if err == nil {
		err = c.run(os.Stdin)
	}
	if err != nil {
		c.say(event{Kind: evError, Err: err.Error()})
	}
	return true
}

// child is a process that reads and writes.
type child struct {
	setting
	app *app

	outMu sync.Mutex
	out   *json.Encoder

	gate    sync.RWMutex // workers hold it for reading during one operation; whoever pauses holds it for writing
	workers sync.WaitGroup
}

// say writes a line at once: what was said survives the process.
func (c *child) say(e event) {
	c.outMu.Lock()
	defer c.outMu.Unlock()
	if err := c.out.Encode(e); err != nil {
		os.Exit(4) // the parent is gone
	}
}

func (c *child) run(in io.Reader) (err error) {
	if c.app, err = newApp(c.setting); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.gate.Lock()
	paused := true
	for n := range c.Readers + c.Writers {
		w := newWorker(c, n, n >= c.Readers)
		c.workers.Go(func() { w.work(ctx) })
	}
	c.say(event{Kind: evReady})
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var cmd command
		if err := json.Unmarshal(lines.Bytes(), &cmd); err != nil {
			return err
		}
		switch cmd.Verb {
		case "go":
			if paused {
				c.gate.Unlock()
				paused = false
			}
		case "pause":
			if !paused {
				c.gate.Lock()
				paused = true
			}
			c.say(event{Kind: evPaused, Stats: c.app.stats()})
		case "modify": // one row, and nothing else
			w := newWorker(c, 0, true)
			w.do(ctx, "modify", func(ctx context.Context, op int64) error { return w.change(ctx, op, 1) })
		case "strike":
			if _, err := faultpoint.Arm(cmd.Arg); err != nil {
				return err
			}
		case "quit":
			cancel()
			if paused {
				c.gate.Unlock()
			}
			c.workers.Wait()
			return nil
		default:
			return fmt.Errorf("unknown command %s", cmd.Verb)
		}
	}
	return nil
}

// app is the library as an application sets it up.
type app struct {
	setting
	conn  *sqlx.DB
	redis *redis.Client
	table declared
	db    *txhooks.DB
	cache *cachedrepo.Cache
	out   *outbox.Outbox // nil: it takes no part in it
	items repo.Repository[item, int64]
	plain *repo.SQL[item, int64]
}

func newApp(s setting) (*app, error) {
	conn, err := sqlx.Open(s.Driver, s.Database)
	if err != nil {
		return nil, err
	}
	conn.SetMaxOpenConns(10)
	conn.SetMaxIdleConns(10)
	options := &redis.Options{Addr: s.Redis}
	redisstore.Tune(options)
	client := redis.NewClient(options)
	db, t := txhooks.New(conn, txhooks.Config{}), s.Mode.items()
	c, err := cachedrepo.New(db, broken(s.Broken, redisstore.New(client)), cachedrepo.Config{
		Namespace: s.Space, Tables: model.Tables{t.Table}, TTL: s.Mode.TTL, LoadTimeout: loadTimeout, Strict: s.Mode.strictly(),
		Logger:   slog.New(slog.DiscardHandler),
		Observer: &cachedrepo.Observer{Read: observed},
	})
	if err != nil {
		return nil, err
	}
	c = c.With(cachedrepo.Options{Negative: s.Mode.TTL})
	a := &app{setting: s, conn: conn, redis: client, table: t, db: db, cache: c, plain: repo.New(db, t.Table)}
	a.items = cachedrepo.Wrap(c, a.plain)
	if s.Mode.Outbox && s.Relay {
		a.out, err = outbox.Start(db, c, outbox.Config{Logger: slog.New(slog.DiscardHandler)})
	}
	return a, err
}

type hitKey struct{}

// watchHit returns a context whose reads say in hit whether the store answered.
func watchHit(ctx context.Context) (_ context.Context, hit *bool) {
	hit = new(bool)
	return context.WithValue(ctx, hitKey{}, hit), hit
}

func observed(ctx context.Context, _ string, hit bool, _ time.Duration) {
	if p, ok := ctx.Value(hitKey{}).(*bool); ok {
		*p = hit
	}
}

func (a *app) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.out != nil {
		_ = a.out.Close(ctx)
	}
	_ = a.cache.Close(ctx)
	_ = a.redis.Close()
	_ = a.conn.Close()
}

func (a *app) stats() map[string]int64 {
	s := a.cache.Stats()
	all := map[string]int64{
		"hits": int64(s.Hits), "misses": int64(s.Misses), "fills": int64(s.Fills), "refused": int64(s.Refused),
		"guarded": int64(s.Guarded), "distrusted": int64(s.Distrusted), "pending": int64(s.Pending), "in doubt": int64(s.InDoubt),
		"store errors": int64(s.StoreErrors), "given up": int64(s.GivenUp),
	}
	if a.Mode.Strict {
		all["intended"], all["lost"], all["strict refused"] = int64(s.Intended), int64(s.Lost), int64(s.StrictRefused)
	}
	return all
}

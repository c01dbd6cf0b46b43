package soak

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/localserver"
)

// stage is what the short plays need: a server, one row, and a process that reads it through the cache and takes part in
// the outbox, this one. Writers are children.
type stage struct {
	setting setting
	redis   *localserver.Redis
	db      *sqlx.DB
	reader  *app
}

func newStage(cfg Config) (s *stage, err error) {
	s = new(stage)
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.redis, err = localserver.StartRedis(context.Background(), localserver.Options{}); err != nil {
		return s, err
	}
	if s.db, err = sqlx.Open("postgres", cfg.Database); err != nil {
		return s, err
	}
	if _, err := s.db.Exec("INSERT INTO items (id, sku, val) VALUES (1, 's1', 1)"); err != nil {
		return s, err
	}
	s.setting = setting{
		Mode: cfg.Mode, Name: "reader", Database: cfg.Database, Driver: "postgres", Redis: s.redis.Addr(), Space: "soak", Rows: 1, Relay: true,
	}
	s.reader, err = newApp(s.setting)
	return s, err
}

func (s *stage) close() {
	if s.reader != nil {
		s.reader.close()
	}
	if s.db != nil {
		_ = s.db.Close()
	}
	if s.redis != nil {
		_ = s.redis.Close()
	}
}

// writer starts a writer; told gets what it says of its writes when they end.
func (s *stage) writer(n int, told chan event) (*process, error) {
	set := s.setting
	set.Name, set.Spawn = fmt.Sprintf("writer %d", n), int64(n)
	p, err := start(set, func(_ *process, e event) {
		if e.Kind == evEnd && told != nil {
			told <- e
		}
	})
	if err != nil {
		return nil, err
	}
	if err := p.await(); err != nil {
		p.end()
		return nil, err
	}
	return p, nil
}

// cached reads the row until the store answers.
func (s *stage) cached(ctx context.Context) error {
	for ctx.Err() == nil {
		asked, hit := watchHit(ctx)
		if _, err := s.reader.items.Find(asked, 1); err != nil {
			return err
		}
		if *hit {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("the row is never cached")
}

// stored is what the database says.
func (s *stage) stored() (val int64, err error) {
	return val, s.db.Get(&val, "SELECT val FROM items")
}

package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/asidego/aside/internal/faultpoint"
	"github.com/asidego/aside/internal/localserver"
)

// Killings are what became of writers that were killed between COMMIT and the post step.
type Killings struct {
	Mode  string
	Stale int             // reads that began after the new row was there and returned the old one
	Right []time.Duration // for each writer, from its death until the cache said what the database said
}

// At is how long it took in all but so many of a hundred cases.
func (k *Killings) At(percent int) time.Duration {
	slices.Sort(k.Right)
	return k.Right[min(len(k.Right)-1, len(k.Right)*percent/100)]
}

func (k *Killings) String() string {
	return fmt.Sprintf("%s: %d writers killed between COMMIT and the post step: %d stale reads; the entry is right after %s at p50, %s at p99, %s at worst",
		k.Mode, len(k.Right), k.Stale, k.At(50).Round(time.Millisecond), k.At(99).Round(time.Millisecond), k.At(100).Round(time.Millisecond))
}

// KillWriters kills n writers, one after the other, at the moment when they have the answer to COMMIT and nobody has been
// told, and reads the row through the cache until it is right.
func KillWriters(cfg Config, n int) (k *Killings, err error) {
	k = &Killings{Mode: cfg.Mode.Name}
	server, err := localserver.StartRedis(context.Background(), localserver.Options{})
	if err != nil {
		return nil, err
	}
	defer server.Close()
	db, err := sqlx.Open("postgres", cfg.Database)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	if _, err := db.Exec("INSERT INTO items (id, sku, val) VALUES (1, 's1', 1)"); err != nil {
		return nil, err
	}
	s := setting{
		Mode: cfg.Mode, Name: "reader", Database: cfg.Database, Driver: "postgres", Redis: server.Addr(), Space: "soak", Rows: 1, Relay: true,
	}
	reader, err := newApp(s)
	if err != nil {
		return nil, err
	}
	defer reader.close()
	next := make(chan *process, 1) // one is started while its predecessor is killed
	spawn := func(n int) {
		s := s
		s.Name, s.Spawn = fmt.Sprintf("writer %d", n), int64(n)
		p, err := start(s, func(*process, event) {})
		if err == nil {
			err = p.await()
		}
		if err != nil {
			if p != nil {
				p.end()
			}
			p = nil
		}
		next <- p
	}
	go spawn(1)
	for i := 1; i <= n; i++ {
		p := <-next
		if p == nil {
			return nil, errors.New("a writer does not start")
		}
		if i < n {
			go spawn(i + 1)
		}
		err := k.one(reader, db, p)
		p.end()
		if err != nil {
			if i < n {
				if p := <-next; p != nil {
					p.end()
				}
			}
			return nil, fmt.Errorf("writer %d: %w", i, err)
		}
	}
	return k, nil
}

func (k *Killings) one(reader *app, db *sqlx.DB, p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for { // until the old row is in the cache
		asked, hit := watchHit(ctx)
		if _, err := reader.items.Find(asked, 1); err != nil {
			return err
		}
		if *hit {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	var before int64
	if err := db.Get(&before, "SELECT val FROM items"); err != nil {
		return err
	}
	if err := errors.Join(p.say("strike", string(faultpoint.AfterCommit)+":kill"), p.say("modify", "")); err != nil {
		return err
	}
	select {
	case <-p.gone:
	case <-ctx.Done():
		return errors.New("it does not die")
	}
	if !p.wasKilled() {
		return fmt.Errorf("it ended by itself: %s: %w", p.cmd.ProcessState, p.failed)
	}
	died := p.died
	var after int64
	if err := db.Get(&after, "SELECT val FROM items"); err != nil {
		return err
	}
	if after == before {
		return errors.New("it died before it had committed")
	}
	for {
		rec, err := reader.items.Find(ctx, 1)
		if err != nil {
			return err
		}
		if rec.Val == after {
			break
		}
		k.Stale++
		time.Sleep(time.Millisecond)
	}
	k.Right = append(k.Right, since(died))
	return nil
}

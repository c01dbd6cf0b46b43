package soak

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/asidego/aside/internal/faultpoint"
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
func KillWriters(cfg Config, n int) (*Killings, error) {
	k := &Killings{Mode: cfg.Mode.Name}
	s, err := newStage(cfg)
	if err != nil {
		return nil, err
	}
	defer s.close()
	type started struct {
		*process
		error
	}
	next := make(chan started, 1) // one is started while its predecessor is killed
	spawn := func(i int) {
		p, err := s.writer(i, nil)
		next <- started{p, err}
	}
	go spawn(1)
	for i := 1; i <= n; i++ {
		p := <-next
		if p.error != nil {
			return nil, p.error
		}
		if i < n {
			go spawn(i + 1)
		}
		err := k.one(s, p.process)
		p.end()
		if err != nil {
			if i < n {
				if p := <-next; p.process != nil {
					p.end()
				}
			}
			return nil, fmt.Errorf("writer %d: %w", i, err)
		}
	}
	return k, nil
}

func (k *Killings) one(s *stage, p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.cached(ctx); err != nil {
		return err
	}
	before, err := s.stored()
	if err != nil {
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
	after, err := s.stored()
	if err != nil {
		return err
	}
	if after == before {
		return errors.New("it died before it had committed")
	}
	for {
		rec, err := s.reader.items.Find(ctx, 1)
		if err != nil {
			return err
		}
		if rec.Val == after {
			break
		}
		k.Stale++
		time.Sleep(time.Millisecond)
	}
	k.Right = append(k.Right, since(p.died))
	return nil
}

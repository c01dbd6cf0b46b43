package cachedrepo

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
)

// replica is one replica of the database, and a goroutine that asks it, on a connection kept for that, how far it is.
//
// A replica can go back in time: when it crashes, or one of its processes does, it replays from the last restart point
// and answers before it is where it was. Its connections do not survive that. So what it was seen to have replayed counts
// as long as the connection lives on which it said so, and a load from it counts if that connection is found alive when the
// load has ended: see confirm.
type replica struct {
	rs    *replicas
	name  string
	db    *sqlx.DB
	nudge chan struct{}
	asks  chan chan error

	proof  atomic.Pointer[proof]  // nil: it must not be used
	faulty atomic.Pointer[string] // what was wrong last; nil: it has not answered yet

	// Those below belong to the goroutine.
	conn   *sqlx.Conn
	lost   bool // a question has not come back
	back   chan struct{}
	cancel context.CancelFunc
}

// proof is that a replica has all commits which were acknowledged before a moment.
type proof struct {
	at   time.Time
	life context.Context // ends with the connection on which it was given
}

func newReplica(rs *replicas, db *sqlx.DB, i int) *replica {
	return &replica{
		rs: rs, db: db, name: fmt.Sprintf("replica %d", i+1), nudge: make(chan struct{}, 1), asks: make(chan chan error),
		back: make(chan struct{}, 1),
	}
}

var (
	errPromoted = errors.New("it is no replica, or no longer: promoted, it goes its own way")
	errStranger = errors.New("it is a replica of another database")
	errTimeline = errors.New("it follows another timeline than the primary's")
	errSilent   = errors.New("it does not answer")
	errAnew     = errors.New("aside: the connection that vouched for the replica has gone")
)

// run asks when it is nudged, and when somebody wants to know.
func (p *replica) run(ctx context.Context) {
	var life context.Context
	life, p.cancel = context.WithCancel(ctx)
	defer func() {
		p.proof.Store(nil)
		p.cancel()
		if p.conn != nil {
			_ = p.conn.Close()
		}
	}()
	for {
		var asking []chan error
		select {
		case <-ctx.Done():
			return
		case <-p.nudge:
		case a := <-p.asks:
			asking = append(asking, a)
		}
		for more := true; more; { // one answer does for all who came before the question
			select {
			case a := <-p.asks:
				asking = append(asking, a)
			default:
				more = false
			}
		}
		pos, err := p.ask(ctx)
		if err == nil {
			err = p.judge(pos, life)
		} else {
			err = fmt.Errorf("%w: %w", errSilent, err)
		}
		if err != nil {
			p.proof.Store(nil)
			p.cancel()
			life, p.cancel = context.WithCancel(ctx)
			if p.conn != nil {
				_ = p.conn.Close()
				p.conn = nil
			}
		}
		p.report(ctx, err)
		for _, a := range asking {
			a <- err
		}
	}
}

// ask asks, and waits no longer than the replica may lag: what comes back later is of no use.
func (p *replica) ask(ctx context.Context) (position, error) {
	if p.lost {
		select {
		case <-p.back:
			p.lost = false
		default:
			return position{}, errors.New("an earlier question is still open")
		}
	}
	type answer struct {
		position
		err  error
		conn *sqlx.Conn
	}
	answers := make(chan answer, 1)
	var left atomic.Bool
	call, cancel := context.WithTimeout(ctx, p.rs.patience)
	conn := p.conn
	go func() { // a driver may wait for a frozen server beyond the end of ctx
		defer cancel()
		a := answer{conn: conn}
		if a.conn == nil {
			a.conn, a.err = p.db.Connx(call)
		}
		if a.err == nil {
			a.position, a.err = askReplica(call, a.conn.Conn)
		}
		if !left.CompareAndSwap(false, true) {
			if a.conn != nil {
				_ = a.conn.Close()
			}
			p.back <- struct{}{}
			return
		}
		answers <- a
	}()
	select {
	case a := <-answers:
		p.conn = a.conn
		return a.position, a.err
	case <-call.Done():
	}
	if !left.CompareAndSwap(false, true) { // it has come after all
		a := <-answers
		p.conn = a.conn
		return a.position, a.err
	}
	p.conn, p.lost = nil, true
	return position{}, call.Err()
}

// judge says what an answer proves.
func (p *replica) judge(pos position, life context.Context) error {
	primary, known := p.rs.history.latest()
	switch {
	case !pos.recovery:
		return errPromoted
	case !known:
		return nil
	case pos.system != primary.system:
		return errStranger
	case pos.timeline != primary.timeline:
		return fmt.Errorf("%w: %d, not %d", errTimeline, pos.timeline, primary.timeline)
	}
	if s, ok := p.rs.history.proves(pos); ok {
		if was := p.proof.Load(); was == nil || was.life != life || was.at.Before(s.at) {
			p.proof.Store(&proof{s.at, life})
		}
	}
	return nil
}

// report tells of what is new.
func (p *replica) report(ctx context.Context, err error) {
	why := ""
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		p.rs.rt.stats.replicaErrors.Add(1)
		why = err.Error()
		for _, e := range []error{errPromoted, errStranger, errTimeline, errSilent} {
			if errors.Is(err, e) {
				why = e.Error() // the same again, whatever the driver calls it
			}
		}
	}
	was := p.faulty.Swap(&why)
	if was != nil && why == *was || was == nil && why == "" {
		return
	}
	if err == nil {
		p.rs.rt.cfg.Logger.Info("aside: a replica is read again", "replica", p.name)
		return
	}
	if o := p.rs.rt.cfg.Observer; o != nil && o.Error != nil {
		o.Error(ctx, "replica", fmt.Errorf("aside: %s: %w", p.name, err))
	}
	p.rs.rt.cfg.Logger.Warn("aside: a replica is not read; its reads go to the primary", "replica", p.name, "err", err)
}

// confirm returns nil if the replica answers, on the connection of which life is, a question that was sent after the call:
// then it did not crash between the proof and now, and is a replica still.
func (p *replica) confirm(ctx context.Context, life context.Context) error {
	answer := make(chan error, 1)
	select {
	case p.asks <- answer:
	case <-life.Done():
		return errAnew
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-answer:
		if err == nil && life.Err() != nil {
			err = errAnew
		}
		return err
	case <-life.Done():
		return errAnew
	case <-ctx.Done():
		return ctx.Err()
	}
}

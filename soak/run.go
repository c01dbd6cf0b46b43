package soak

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/redis/go-redis/v9"

	"github.com/asidego/aside/internal/faults"
	"github.com/asidego/aside/internal/localserver"
)

// Config is for one run.
type Config struct {
	Mode     Mode
	Seed     uint64
	For      time.Duration
	Round    time.Duration // 0: 2s
	Rows     int64         // 0: 5
	Writers  int           // processes; 0: 2
	Readers  int           // processes; 0: 1
	Replay   []fault       // instead of what the seed says
	Broken   string        // see broken.go
	Database string        // URL of an empty database, direct
	Postgres string        // its host:port
	Through  func(addr string) string
	Log      func(format string, args ...any)
}

// run is a run under way.
type run struct {
	cfg        Config
	redis      *localserver.Redis
	admin      *redis.Client
	toRedis    *faults.Proxy
	beside     *faults.Proxy // to Redis, too, for who is not struck
	toPostgres *faults.Proxy
	db         *sqlx.DB
	auditor    *app
	rand       *rand.Rand
	figures    *Figures
	schedule   []fault
	killed     map[string]int
	spawned    int64
	noted      int64 // the last note that was read
	holds      map[string]int64

	mu       sync.Mutex // guards all below
	children []*process
	died     map[int64]int64 // spawn: when
	history  *history
}

// Run runs and returns what it saw. The error is of the run itself; what it found is in Figures.Violations, and was
// logged.
func Run(cfg Config) (f *Figures, err error) {
	if cfg.Round == 0 {
		cfg.Round = 2 * time.Second
	}
	if cfg.Rows == 0 {
		cfg.Rows = 5
	}
	if cfg.Writers == 0 {
		cfg.Writers = 2
	}
	if cfg.Readers == 0 {
		cfg.Readers = 1
	}
	r := &run{
		cfg: cfg, rand: rand.New(rand.NewPCG(cfg.Seed, 1)), figures: newFigures(cfg.Mode.Name, cfg.Seed), killed: map[string]int{},
		holds: map[string]int64{}, died: map[int64]int64{}, history: newHistory(),
	}
	began := time.Now()
	defer func() { r.figures.Took = time.Since(began) }()
	defer r.close()
	if err := r.open(); err != nil {
		return r.figures, err
	}
	for round := 0; round == 0 || time.Since(began) < cfg.For; round++ {
		if err := r.round(round); err != nil {
			return r.figures, fmt.Errorf("round %d: %w; replay with -seed %d", round, err, cfg.Seed)
		}
		if r.figures.Violations > 0 {
			r.cfg.Log("%s", r.advice())
			break
		}
	}
	r.figures.Killed = r.killed
	return r.figures, nil
}

func (r *run) open() (err error) {
	if r.redis, err = startRedis(); err != nil {
		return err
	}
	r.admin = adminOf(r.redis)
	if r.beside, err = faults.Listen(r.redis.Addr()); err != nil {
		return err
	}
	if r.toRedis, err = faults.Listen(r.redis.Addr()); err != nil {
		return err
	}
	if r.toPostgres, err = faults.ListenPostgres(r.cfg.Postgres); err != nil {
		return err
	}
	if r.db, err = sqlx.Open("postgres", r.cfg.Database); err != nil {
		return err
	}
	for n := int64(1); n <= r.cfg.Rows; n++ {
		if _, err := r.db.Exec("INSERT INTO items (id, sku, val) VALUES ($1, $2, $1)", n, skuOf(n)); err != nil {
			return err
		}
	}
	if r.auditor, err = newApp(r.setting("auditor", 0, "postgres", r.cfg.Database, r.beside.Addr(), 0, 0)); err != nil {
		return err
	}
	for n := range r.cfg.Writers + r.cfg.Readers {
		readers, writers := 1, 3
		if n >= r.cfg.Writers {
			readers, writers = 4, 0
		}
		name := fmt.Sprintf("process %c", 'A'+n)
		if err := r.spawn(n, name, readers, writers); err != nil {
			return err
		}
	}
	for _, p := range r.children {
		if err := p.await(); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) setting(name string, spawn int64, driver, database, redis string, readers, writers int) setting {
	return setting{
		Mode: r.cfg.Mode, Name: name, Spawn: spawn, Seed: r.cfg.Seed, Database: database, Driver: driver, Redis: redis,
		Space: "soak", Rows: r.cfg.Rows, Readers: readers, Writers: writers, Relay: readers+writers > 0, Broken: r.cfg.Broken,
	}
}

func (r *run) spawn(n int, name string, readers, writers int) error {
	r.spawned++
	driver := "postgres"
	if n%2 == 1 {
		driver = "pgx"
	}
	s := r.setting(name, r.spawned, driver, r.cfg.Through(r.toPostgres.Addr()), r.toRedis.Addr(), readers, writers)
	p, err := start(s, r.tell)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n == len(r.children) {
		r.children = append(r.children, p)
	} else {
		r.children[n] = p
	}
	return nil
}

func (r *run) tell(p *process, e event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history.add(fmt.Sprintf("%s/%d", p.Name, e.Worker), p.Spawn, e)
}

func (r *run) child(n int) *process {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.children[n]
}

// replace starts another child in the place of one that has died. It stands still.
func (r *run) replace(p *process) error {
	r.mu.Lock()
	n := slices.Index(r.children, p)
	r.died[p.Spawn] = p.died
	r.mu.Unlock()
	if !p.wasKilled() {
		return fmt.Errorf("%s ended by itself: %s: %w", p.Name, p.cmd.ProcessState, p.failed)
	}
	if err := r.spawn(n, p.Name, p.Readers, p.Writers); err != nil {
		return err
	}
	return r.child(n).await()
}

// round runs one round and judges it.
func (r *run) round(round int) error {
	plan := r.plan(round)
	r.mu.Lock()
	r.history = newHistory()
	clear(r.died)
	r.mu.Unlock()
	began := now()
	for n := range r.children {
		if err := r.child(n).say("go", ""); err != nil {
			return err
		}
	}
	loses := false
	var hit []struck
	for _, f := range plan {
		if wait := f.At - since(began); wait > 0 {
			time.Sleep(wait)
		}
		k, ok := kindOf(f.Kind)
		if !ok {
			return fmt.Errorf("there is no fault %q", f.Kind)
		}
		s := struck{fault: f, from: now()}
		if err := k.strike(r, f); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		s.to = now()
		hit = append(hit, s)
		loses = loses || k.loses
	}
	if wait := r.cfg.Round - since(began); wait > 0 {
		time.Sleep(wait)
	}
	pending, err := r.quiet()
	if err != nil {
		return err
	}
	r.mu.Lock()
	h, died := r.history, r.died
	r.mu.Unlock()
	h.struck = hit
	return r.judge(round, h, died, loses, pending)
}

// plan draws the faults of a round, or takes them from a schedule.
func (r *run) plan(round int) (plan []fault) {
	if r.cfg.Replay != nil {
		for _, f := range r.cfg.Replay {
			if f.Round == round {
				plan = append(plan, f)
			}
		}
	} else {
		plan = schedule(r.rand, round, r.cfg.Round, r.cfg.Mode.points())
	}
	r.schedule = append(r.schedule, plan...)
	return plan
}

// quiet stops all children at once, starts others in the place of those that are dead, and waits until nothing is under
// way.
func (r *run) quiet() (stats map[string]int64, err error) {
	errs := make([]error, len(r.children))
	var all sync.WaitGroup
	for n := range r.children {
		all.Go(func() { _, errs[n] = r.child(n).pause() })
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	stats = map[string]int64{}
	for n := range r.children {
		for asked := now(); ; time.Sleep(20 * time.Millisecond) {
			p := r.child(n)
			got, err := p.pause()
			if err != nil {
				return nil, err
			}
			if got == nil {
				if err := r.replace(p); err != nil {
					return nil, err
				}
				continue
			}
			if got["pending"] == 0 {
				for k, v := range got {
					stats[k] += v
				}
				break
			}
			if since(asked) > patience { // the store is there again: they must go out
				return nil, fmt.Errorf("%s: %d invalidations are pending %s after the store is back", p.Name, got["pending"], patience)
			}
		}
	}
	// What a dead writer left open may still commit.
	for deadline := now() + int64(patience); ; time.Sleep(5 * time.Millisecond) {
		var open int
		err := r.db.Get(&open, `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid() AND (xact_start IS NOT NULL OR state = 'active')`)
		if err != nil {
			return nil, err
		}
		if open == 0 {
			return stats, nil
		}
		if now() > deadline {
			return nil, errors.New("a transaction never ends")
		}
	}
}

// judge checks all properties of a round.
func (r *run) judge(round int, h *history, died map[int64]int64, loses bool, stats map[string]int64) error {
	var notes []note
	if err := r.db.Select(&notes, "SELECT seq, op, reg, val FROM notes WHERE seq > $1 ORDER BY seq", r.noted); err != nil {
		return err
	}
	first := make(map[string]int64)
	for _, reg := range registers(r.cfg.Rows) {
		val, ok := r.holds[reg]
		if !ok {
			fmt.Sscanf(reg[strings.LastIndexAny(reg, " s")+1:], "%d", &val) // as open has inserted it
		}
		first[reg] = val
	}
	wrong := h.resolve(first, notes, died)
	for reg, val := range first {
		r.holds[reg] = val
	}
	for _, n := range notes {
		r.holds[n.Reg], r.noted = n.Val, n.Seq
	}
	f := r.figures
	f.Rounds++
	f.add(h)
	for k, v := range stats {
		f.Stats[k] += v
	}
	p := promises{linearizable: r.cfg.Mode.Strict && !loses, excused: !r.cfg.Mode.Strict || loses}
	wrong = append(wrong, h.returned(p, &f.Stale)...)
	if p.linearizable {
		f.Linear++
		more, undecided := h.linearizable()
		f.Undecided += undecided
		wrong = append(wrong, more...)
	}
	if len(wrong) == 0 {
		more, took, err := r.converge(h, died, loses)
		if err != nil {
			return err
		}
		f.Converged = max(f.Converged, took)
		if _, asked := r.cfg.Mode.repaired(loses); !asked { // or the next round would find it
			if err := r.flush(fault{}); err != nil {
				return err
			}
		}
		wrong = append(wrong, more...)
	}
	f.Violations += len(wrong)
	for i, v := range worst(wrong) {
		if i == 3 {
			r.cfg.Log("%s, round %d: and %d more", r.cfg.Mode.Name, round, len(wrong)-3)
			break
		}
		r.cfg.Log("%s, round %d: %s\n%s", r.cfg.Mode.Name, round, v, h.window(v))
	}
	return nil
}

// advice says how to run it again.
func (r *run) advice() string {
	text, err := json.MarshalIndent(r.schedule, "", " ")
	path := filepath.Join(os.TempDir(), fmt.Sprintf("aside-soak-%s-%d.json", r.cfg.Mode.Name, r.cfg.Seed))
	if err == nil {
		err = os.WriteFile(path, text, 0o644)
	}
	again := fmt.Sprintf("again: cd soak && go test -race -count 1 -v -run 'TestSoak/%s$' -seed %d", r.cfg.Mode.Name, r.cfg.Seed)
	if err != nil {
		return again
	}
	return again + " -schedule " + path
}

func (r *run) close() {
	for _, p := range r.children {
		p.end()
	}
	if r.auditor != nil {
		r.auditor.close()
	}
	if r.toRedis != nil {
		r.toRedis.Close()
	}
	if r.beside != nil {
		r.beside.Close()
	}
	if r.toPostgres != nil {
		r.toPostgres.Close()
	}
	if r.admin != nil {
		_ = r.admin.Close()
	}
	if r.db != nil {
		_ = r.db.Close()
	}
	if r.redis != nil {
		_ = r.redis.Close()
	}
}

// ReadSchedule reads what a failed run has written.
func ReadSchedule(path string) (all []fault, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
}

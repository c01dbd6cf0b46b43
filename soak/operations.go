package soak

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/asidego/aside/cachedrepo"
	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo"
	"github.com/asidego/aside/txhooks"
)

// worker is a goroutine that runs one operation after the other.
type worker struct {
	*child
	number int
	writes bool
	rand   *rand.Rand
}

// callTimeout is the caller's patience; a COMMIT that is out does not obey it.
const callTimeout = 3 * time.Second

func newWorker(c *child, number int, writes bool) *worker {
	return &worker{c, number, writes, rand.New(rand.NewPCG(c.Seed, uint64(c.Spawn)<<16|uint64(number)))}
}

func (w *worker) work(ctx context.Context) {
	for ctx.Err() == nil {
		w.gate.RLock()
		if ctx.Err() == nil {
			w.once(ctx)
		}
		w.gate.RUnlock()
		if w.rand.IntN(4) == 0 {
			time.Sleep(time.Duration(w.rand.IntN(3)) * time.Millisecond)
		}
	}
}

func (w *worker) once(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if !w.writes {
		w.read(ctx)
		return
	}
	w.write(ctx)
	if w.rand.IntN(2) == 0 {
		w.read(ctx) // P1 is about one's own writes first of all
	}
}

func (w *worker) id() int64   { return w.rand.Int64N(w.Rows) + 1 }
func (w *worker) sku() string { return skuOf(w.id()) }

// read runs one of the ways to read, and says what it was told.
func (w *worker) read(ctx context.Context) {
	e := event{Kind: evRead, Worker: w.number, Call: now()}
	var err error
	one := func(reg string, rec item, rerr error) {
		if errors.Is(rerr, model.ErrNotFound) {
			rec, rerr = item{}, nil
		}
		err = rerr
		e.Regs, e.Vals = []string{reg}, []int64{rec.Val}
	}
	switch n := w.rand.IntN(20); {
	case n < 10:
		id := w.id()
		e.How = "Find"
		rec, ferr := w.app.items.Find(ctx, id)
		one(regID(id), rec, ferr)
		if ferr == nil && rec.ID != id {
			err = fmt.Errorf("Find(%d) returned %d", id, rec.ID)
		}
	case n < 15:
		sku := w.sku()
		e.How = "FindBy"
		rec, ferr := w.app.items.FindBy(ctx, w.app.table.bySKU.Eq(sku))
		one(regSKU(sku), rec, ferr)
	case n < 18:
		ids := make([]int64, 0, 3)
		for range 3 {
			if id := w.id(); !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		e.How = "FindMany"
		var recs []item
		recs, err = w.app.items.FindMany(ctx, ids)
		for _, id := range ids {
			var val int64
			if i := slices.IndexFunc(recs, func(rec item) bool { return rec.ID == id }); i >= 0 {
				val = recs[i].Val
			}
			e.Regs, e.Vals = append(e.Regs, regID(id)), append(e.Vals, val)
		}
	case n < 19:
		id := w.id()
		e.How = "Find in the database"
		rec, ferr := w.app.items.Find(cachedrepo.Bypass(ctx), id)
		one(regID(id), rec, ferr)
	default:
		sku := w.sku()
		e.How = "FindBy in a transaction"
		var rec item
		ferr := w.app.db.Run(ctx, func(ctx context.Context) (err error) {
			rec, err = w.app.items.FindBy(ctx, w.app.table.bySKU.Eq(sku))
			return err
		})
		one(regSKU(sku), rec, ferr)
	}
	e.Return = now()
	if err != nil {
		e = event{Kind: evFailed, Worker: w.number, Call: e.Call, Return: e.Return, How: e.How, Err: err.Error()}
	}
	w.say(e)
}

// operations numbers the writes of a child.
var operations atomic.Int64

var errChanged = errors.New("the caller changed its mind")

// write runs one of the ways to write.
func (w *worker) write(ctx context.Context) {
	kinds := []struct {
		how    string
		weight int
		do     func(ctx context.Context, op int64) error
	}{
		{"modify", 8, w.modify},
		{"move a sku", 3, w.move},
		{"insert", 4, w.insert},
		{"delete", 2, w.remove},
		{"upsert", 2, w.upsert},
		{"bulk", 2, w.bulk},
		{"several rows", 3, w.several},
		{"change its mind", 1, func(ctx context.Context, op int64) error {
			if err := w.several(ctx, op); err != nil {
				return err
			}
			return errChanged
		}},
	}
	n := 0
	for _, k := range kinds {
		n += k.weight
	}
	n = w.rand.IntN(n)
	i := 0
	for n >= kinds[i].weight {
		n -= kinds[i].weight
		i++
	}
	w.do(ctx, kinds[i].how, kinds[i].do)
}

// do runs a write and says what became of it.
func (w *worker) do(ctx context.Context, how string, what func(ctx context.Context, op int64) error) {
	op := w.Spawn<<24 | operations.Add(1)
	ctx, report := txhooks.WithReport(ctx)
	w.say(event{Kind: evBegin, Worker: w.number, Call: now(), Op: op, How: how})
	err := w.app.db.Run(ctx, func(ctx context.Context) error { return what(ctx, op) })
	e := event{Kind: evEnd, Worker: w.number, Return: now(), Op: op, Outcome: committed}
	switch {
	case errors.Is(err, model.ErrInDoubt):
		e.Outcome = inDoubt
	case err != nil:
		e.Outcome, e.Err = rolledBack, err.Error()
	default:
		e.Pending = report.Pending
	}
	w.say(e)
}

// note writes down what the registers hold from this transaction on. The row's lock, or its place in the index, must be
// taken by now.
func (w *worker) note(ctx context.Context, op int64, pairs ...any) error {
	var values []string
	args := []any{op}
	for i := 0; i < len(pairs); i += 2 {
		values = append(values, fmt.Sprintf("($1, $%d, $%d)", len(args)+1, len(args)+2))
		args = append(args, pairs[i], pairs[i+1])
	}
	_, err := w.app.db.ExecContext(ctx, "INSERT INTO notes (op, reg, val) VALUES "+strings.Join(values, ", "), args...)
	return err
}

// lock keeps other writers of these ids away, also while there is no such row, and in one order for all.
func (w *worker) lock(ctx context.Context, ids ...int64) error {
	slices.Sort(ids)
	for _, id := range ids {
		if _, err := w.app.db.ExecContext(ctx, "SELECT pg_advisory_xact_lock($1)", id); err != nil {
			return err
		}
	}
	return nil
}

// change writes a row that is there, and makes it if it is not.
func (w *worker) change(ctx context.Context, op, id int64) error {
	rec, err := w.app.items.Modify(ctx, id, func(rec *item) error {
		rec.Val = op
		return nil
	})
	if err == nil {
		return w.note(ctx, op, regID(id), op, regSKU(rec.SKU), op)
	}
	return err
}

func (w *worker) modify(ctx context.Context, op int64) error {
	id := w.id()
	if err := w.lock(ctx, id); err != nil {
		return err
	}
	return w.change(ctx, op, id)
}

func (w *worker) move(ctx context.Context, op int64) error {
	id, to := w.id(), w.sku()
	if err := w.lock(ctx, id); err != nil {
		return err
	}
	var from string
	_, err := w.app.items.Modify(ctx, id, func(rec *item) error {
		from = rec.SKU
		rec.SKU, rec.Val = to, op
		return nil
	})
	if err != nil {
		return err
	}
	if from == to {
		return w.note(ctx, op, regID(id), op, regSKU(to), op)
	}
	return w.note(ctx, op, regID(id), op, regSKU(from), 0, regSKU(to), op)
}

func (w *worker) insert(ctx context.Context, op int64) error {
	rec := item{ID: w.id(), SKU: w.sku(), Val: op}
	if err := w.lock(ctx, rec.ID); err != nil {
		return err
	}
	if _, err := w.app.items.Insert(ctx, rec); err != nil {
		return err
	}
	return w.note(ctx, op, regID(rec.ID), op, regSKU(rec.SKU), op)
}

func (w *worker) remove(ctx context.Context, op int64) error {
	id := w.id()
	if err := w.lock(ctx, id); err != nil {
		return err
	}
	rec, err := w.app.plain.Find(ctx, id)
	if err != nil {
		return err
	}
	if err := w.app.items.Delete(ctx, id); err != nil {
		return err
	}
	return w.note(ctx, op, regID(id), 0, regSKU(rec.SKU), 0)
}

func (w *worker) upsert(ctx context.Context, op int64) error {
	id := w.id()
	if err := w.lock(ctx, id); err != nil {
		return err
	}
	before, err := w.app.plain.Find(ctx, id)
	if err != nil && !errors.Is(err, model.ErrNotFound) {
		return err
	}
	after, err := w.app.plain.Upsert(ctx, item{ID: id, SKU: w.sku(), Val: op}, w.app.plain.Table())
	if err != nil {
		return err
	}
	if before.SKU != "" && before.SKU != after.SKU {
		return w.note(ctx, op, regID(id), op, regSKU(before.SKU), 0, regSKU(after.SKU), op)
	}
	return w.note(ctx, op, regID(id), op, regSKU(after.SKU), op)
}

// bulk updates whatever of two ids is there, with a statement that is not told which.
func (w *worker) bulk(ctx context.Context, op int64) error {
	a, b := w.id(), w.id()
	if err := w.lock(ctx, a, b); err != nil {
		return err
	}
	if _, err := w.app.plain.UpdateWhere(ctx, repo.Bulk{Set: "val = $1", Where: "id IN ($2, $3)", Args: []any{op, a, b}}); err != nil {
		return err
	}
	recs, err := w.app.plain.FindMany(ctx, []int64{min(a, b), max(a, b)}[:1+btoi(a != b)])
	if err != nil || len(recs) == 0 {
		return err
	}
	var pairs []any
	for _, rec := range recs {
		pairs = append(pairs, regID(rec.ID), op, regSKU(rec.SKU), op)
	}
	return w.note(ctx, op, pairs...)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// several changes two or three rows.
func (w *worker) several(ctx context.Context, op int64) error {
	ids := []int64{w.id(), w.id(), w.id()}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	if err := w.lock(ctx, ids...); err != nil {
		return err
	}
	for _, id := range ids {
		if err := w.change(ctx, op, id); err != nil && !errors.Is(err, model.ErrNotFound) {
			return err
		}
	}
	return nil
}

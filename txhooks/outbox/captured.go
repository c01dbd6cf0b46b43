package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"iter"
	"strings"
	"time"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// Triggers write down what a transaction changes beside its repositories: by SQL of its own, by cascades, in deferred
// triggers. Whoever made them, such rows lie in aside_outbox under the transaction's number, and the relay delivers them. For
// the transactions of this process that is not enough: a read after Run must not find what was there before, and an intent is
// placed before COMMIT or is none. So they are read back in the transaction, and reported.
//
// Which tables a transaction wrote to nobody knows; a DELETE of an order may have taken lines with it. So the question is
// asked for each transaction or for none: for none as long as no table of a consumer of this pool is captured. The catalog
// says so, and not a setting, for the triggers come with a migration and not with a deploy.

// capture is what the catalog says.
type capture struct {
	named map[string][]*model.Relation // tables of the pool's consumers; nil: none is captured
}

const (
	lookForCapture = 10 * time.Second
	knownMost      = 10_000 // changes that what was captured is compared with; in longer transactions it is reported again
)

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// serve has a consumer's tables looked for among those that are captured.
func (w *writer) serve(o *Outbox) (leave func()) {
	writers.Lock()
	defer writers.Unlock()
	if w.serves == nil {
		w.serves = make(map[*Outbox]bool)
	}
	w.serves[o] = true
	w.captured.Store(nil)
	return func() {
		writers.Lock()
		defer writers.Unlock()
		delete(w.serves, o)
		w.captured.Store(nil)
	}
}

// look asks whether any of the tables is captured.
func (w *writer) look(ctx context.Context, db querier) (*capture, error) {
	named := make(map[string][]*model.Relation)
	var quoted []string
	writers.Lock()
	for o := range w.serves {
		for name, rels := range o.relations() {
			named[name] = append(named[name], rels...)
		}
		for _, rel := range o.consumer.Relations() {
			schema, name, ok := strings.Cut(rel.Name, ".")
			q := quote(schema)
			if ok {
				q += "." + quote(name)
			}
			quoted = append(quoted, q)
		}
	}
	writers.Unlock()
	c := new(capture)
	if len(quoted) > 0 {
		list, err := json.Marshal(quoted)
		if err != nil {
			return nil, err
		}
		var any bool
		if err := db.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM jsonb_array_elements_text($1::text::jsonb) u (name)
			JOIN pg_trigger t ON t.tgrelid = to_regclass(u.name) AND t.tgname = 'aside_capture_update')`, string(list)).Scan(&any); err != nil {
			return nil, err
		}
		if any {
			c.named = named
		}
	}
	w.captured.Store(c)
	return c, nil
}

// Prepare implements txhooks.Preparer: it reports what was captured, once deferred triggers have run, whose errors are then
// those of COMMIT. One statement. What was reported already is not reported again.
//
// A row that does not say everything, see row.whole, is left to the relay: it is marked, so that it is not acknowledged with ours.
func (w *writer) Prepare(ctx context.Context, changes txhooks.Changes) error {
	c := w.captured.Load()
	if c == nil { // the database could not be reached before
		var err error
		if c, err = w.look(ctx, w.db); err != nil {
			return fmt.Errorf("aside: outbox: asking which tables are captured: %w", err)
		}
	}
	if c.named == nil {
		return nil
	}
	known := newImages()
	if changes.Len() <= knownMost {
		for ch := range changes.All() {
			known.add(ch)
		}
	}
	found := newImages()
	broken, err := w.readCaptured(ctx, c, func(r *row) error {
		var news []txhooks.Change
		for ch := range r.changes.All() {
			if r.whole() {
				found.add(ch)
			}
			if !known.has(ch) {
				news = append(news, ch)
			}
		}
		if len(news) == 0 {
			return nil
		}
		return w.db.Changed(ctx, news...)
	})
	if err != nil {
		return err
	}
	if len(broken) > 0 {
		if _, err := w.db.ExecContext(ctx, "UPDATE "+w.tables().outbox+` SET changes = jsonb_set(changes, '{0,left}', 'true')
			WHERE id = ANY ($1::text::bigint[])`, listed(broken, number)); err != nil {
			return fmt.Errorf("aside: outbox: %w", err)
		}
	}
	if len(found.of) > 0 {
		w.remember(changes.ID(), stage{captured: found})
	}
	return nil
}

// readCaptured calls each with what was captured in the transaction, and returns the rows that do not say everything.
func (w *writer) readCaptured(ctx context.Context, c *capture, each func(*row) error) (broken []int64, err error) {
	rows, err := w.db.QueryContext(ctx, "SELECT id, changes::text FROM "+w.tables().captured+"()")
	if err != nil {
		return nil, err // the error of a constraint, as COMMIT would give it
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		r := new(row)
		if err := rows.Scan(&r.id, &r.text); err != nil {
			return nil, err
		}
		r.decode(c.named)
		if !r.whole() {
			broken = append(broken, r.id)
		}
		if err := each(r); err != nil {
			return nil, err
		}
	}
	return broken, rows.Err()
}

// beyond leaves out what captured rows say: the witness of the transaction need not say it again. Of strict tables it does:
// whoever delivers that row releases the intents of the transaction, which the captured ones do not name.
func (w *writer) beyond(id txhooks.ID, changes iter.Seq[txhooks.Change]) iter.Seq[txhooks.Change] {
	s, _ := w.recall(id)
	if len(s.captured.of) == 0 {
		return changes
	}
	return func(yield func(txhooks.Change) bool) {
		for ch := range changes {
			if (ch.Relation.Strict || !s.captured.has(ch)) && !yield(ch) {
				return
			}
		}
	}
}

// witnessed is the condition for rows of transactions, and for what was captured in them. Both have the transaction's
// number; after a crash that lost it another one may have it too, but of that one's rows none is lost, nor of ours any left.
func (w *writer) witnessed() string {
	const own = "tx = ANY ($2::text::uuid[])"
	if c := w.captured.Load(); c == nil || c.named == nil {
		return own
	}
	return "(" + own + " OR tx IS NULL AND done_at IS NULL AND xid = ANY (ARRAY(SELECT xid FROM " + w.tables().outbox + " WHERE " + own + ")) AND changes #> '{0,left}' IS NULL)"
}

// images is a set of images of rows, by 64 random bits of each: of ten thousand in one transaction two are taken for one once
// in a hundred billion transactions.
type images struct {
	seed maphash.Seed
	of   map[uint64]struct{}
}

func newImages() images { return images{maphash.MakeSeed(), make(map[uint64]struct{})} }

func (s images) add(ch txhooks.Change) {
	for _, img := range [2]model.Image{ch.Before, ch.After} {
		if img != nil {
			s.of[s.hash(ch.Relation, img)] = struct{}{}
		}
	}
}

// has tells whether both images of a change are in the set.
func (s images) has(ch txhooks.Change) bool {
	for _, img := range [2]model.Image{ch.Before, ch.After} {
		if img == nil {
			continue
		}
		if _, ok := s.of[s.hash(ch.Relation, img)]; !ok {
			return false
		}
	}
	return true
}

func (s images) hash(rel *model.Relation, img model.Image) uint64 {
	var h maphash.Hash
	h.SetSeed(s.seed)
	maphash.WriteComparable(&h, rel)
	for _, d := range img {
		maphash.WriteComparable(&h, d)
	}
	return h.Sum64()
}

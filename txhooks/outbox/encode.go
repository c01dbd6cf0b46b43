package outbox

import (
	"encoding/json"
	"iter"
	"slices"
	"strings"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/txhooks"
)

// entry is what a row says of one table. Values are texts as PostgreSQL writes them under fixed settings, or null. The rows
// in Before and After need not correspond; what counts for a cache is which images a row of the table ever had.
type entry struct {
	Table   string   `json:"t"`
	Op      string   `json:"op"`
	Columns []string `json:"c"`
	Before  rows     `json:"b,omitempty"`
	After   rows     `json:"a,omitempty"`

	// Stale is why the rows do not say everything, a captured column that is gone, or a TRUNCATE whose rows could not be listed:
	// then it may concern any row of the table.
	Stale string `json:"stale,omitempty"`
}

// A row holds no more than this, so that a relay needs little memory for it, whatever the transaction.
const (
	changesInRow = 1000
	bytesInRow   = 256 << 10
)

// encode yields the contents of rows, of one at least: it is the transaction's witness.
func (w *writer) encode(changes iter.Seq[txhooks.Change]) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		var p part
		none := true
		for c := range changes {
			p.add(w, c)
			if p.changes < changesInRow && p.bytes < bytesInRow {
				continue
			}
			if !yield(p.text()) {
				return
			}
			p, none = part{}, false
		}
		switch {
		case p.changes > 0:
			yield(p.text())
		case none:
			yield("[]", nil)
		}
	}
}

// part is a row's contents as it grows.
type part struct {
	entries        []*entry
	of             map[group]*entry
	last           group // most changes are of the same kind as the one before
	at             *entry
	changes, bytes int
}

type group struct {
	rel *model.Relation
	op  string
}

func (p *part) add(w *writer, c txhooks.Change) {
	g := group{c.Relation, "U"}
	switch {
	case c.Before == nil:
		g.op = "I"
	case c.After == nil:
		g.op = "D"
	}
	if p.at == nil || g != p.last {
		p.last, p.at = g, p.of[g]
		if p.at == nil {
			p.at = &entry{Table: w.name(c.Relation), Op: g.op, Columns: c.Relation.ImageColumns()}
			if p.of == nil {
				p.of = make(map[group]*entry)
			}
			p.of[g] = p.at
			p.entries = append(p.entries, p.at)
		}
	}
	p.changes++
	if c.Before != nil {
		p.at.Before = p.append(p.at.Before, c.Before)
	}
	if c.After != nil && !slices.Equal(c.Before, c.After) { // the same image twice says nothing more
		p.at.After = p.append(p.at.After, c.After)
	}
}

func (p *part) append(all rows, image model.Image) rows {
	row := make([]*string, len(image))
	for i, d := range image {
		if s, null := d.SQLText(); !null {
			if strings.ContainsRune(s, 0) {
				return all // no row can have such a value, and jsonb cannot hold it: it was asked for and is nowhere
			}
			row[i] = &s
			p.bytes += len(s)
		}
		p.bytes += 4
	}
	return append(all, row)
}

func (p *part) text() (string, error) {
	b, err := json.Marshal(p.entries)
	return string(b), err
}

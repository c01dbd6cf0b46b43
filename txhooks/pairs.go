package txhooks

import "github.com/asidego/aside/model"

// pairs puts together the images of each row. Of several before images the first counts.
type pairs struct {
	rel     *model.Relation
	changes []Change // those with a before image come first
	before  int      // how many these are
	at      map[string]int
}

func newPairs(rel *model.Relation, before []row) *pairs {
	p := &pairs{rel: rel, at: make(map[string]int, len(before))}
	for _, r := range before {
		if _, ok := p.at[r.key]; !ok {
			p.at[r.key] = len(p.changes)
			p.changes = append(p.changes, Change{Relation: rel, Before: r.image})
		}
	}
	p.before = len(p.changes)
	return p
}

func (p *pairs) after(r row) {
	if i, ok := p.at[r.key]; ok {
		p.changes[i].After = r.image
		return
	}
	p.at[r.key] = len(p.changes)
	p.changes = append(p.changes, Change{Relation: p.rel, After: r.image})
}

// take removes and returns the changes without a before image, if there are more of them than are kept in memory.
func (p *pairs) take() []Change {
	if len(p.changes)-p.before < inMemory {
		return nil
	}
	taken := p.changes[p.before:]
	for key, i := range p.at {
		if i >= p.before {
			delete(p.at, key)
		}
	}
	p.changes = p.changes[:p.before:p.before]
	return taken
}

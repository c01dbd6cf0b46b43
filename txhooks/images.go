package txhooks

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/asidego/aside/model"
)

// chunk is how many places one statement names; PostgreSQL takes 65535 arguments.
const chunk = 1000

// queryer is a transaction, or a pool.
type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// row is a row's image, with its key in a form that can be compared.
type row struct {
	rel   *model.Relation
	key   string
	image model.Image
}

func rowOf(rel *model.Relation, image model.Image) row {
	identity := rel.Key.OfImage(nil, image)
	if rel.Scope >= 0 { // two tenants may have the same key
		identity = append(identity, rel.ScopeOfImage(image))
	}
	return row{rel, comparable(identity), image}
}

// comparable makes a string that only equal values have.
func comparable(data []model.Datum) string {
	var b strings.Builder
	for _, d := range data {
		fmt.Fprintf(&b, "%d:%d:%d:%s", d.Kind, d.Int, len(d.Text), d.Text)
	}
	return b.String()
}

// group is what is touched of one table, in one scope if it has scopes.
type group struct {
	rel    *model.Relation
	scope  model.Datum
	all    bool
	places []touch
	seen   map[string]bool
}

// groups sorts touches by table: whoever locks rows of several tables does it in the order of their names.
func groups(touches []touch) []*group {
	var groups []*group
	type part struct {
		rel   *model.Relation
		scope model.Datum
	}
	of := make(map[part]*group)
	for _, p := range touches {
		g := of[part{p.rel, p.scope}]
		if g == nil {
			g = &group{rel: p.rel, scope: p.scope, seen: make(map[string]bool)}
			of[part{p.rel, p.scope}] = g
			groups = append(groups, g)
		}
		g.add(p)
	}
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(a.rel.Name, b.rel.Name) })
	return groups
}

func (g *group) add(p touch) {
	if p.access == nil {
		g.all, g.places = true, nil
	}
	if g.all {
		return
	}
	key := p.access.Name + "=" + comparable(p.data)
	if !g.seen[key] {
		g.seen[key] = true
		g.places = append(g.places, p)
	}
}

// keysOnly: there is nothing to read, for the image is the key, which the ref says.
func (g *group) keysOnly() bool { return len(g.rel.Indexes) == 0 && !g.all }

// has tells whether a row's image is of the group's table and scope.
func (g *group) has(rel *model.Relation, image model.Image) bool {
	return rel == g.rel && (rel.Scope < 0 || rel.ScopeOfImage(image) == g.scope)
}

func (g *group) keys() []row {
	rows := make([]row, len(g.places))
	for i, p := range g.places {
		rows[i] = rowOf(g.rel, imageAt(p))
	}
	return rows
}

// images reads the rows at a group's places, and hands them out chunk by chunk. A row at several places can come several
// times.
func (t *transaction) images(ctx context.Context, g *group, lock bool, found func([]row)) error {
	if g.keysOnly() {
		return nil
	}
	if g.all {
		return t.query(ctx, g, nil, lock, found)
	}
	// Rows are locked in the order of one statement, and in key order from one to the next as far as we can tell without
	// the database's collation: two transactions that touch the same thousands of rows must not meet head on.
	slices.SortStableFunc(g.places, comparePlaces)
	for places := range slices.Chunk(g.places, chunk) {
		if err := t.query(ctx, g, places, lock, found); err != nil {
			return err
		}
	}
	return nil
}

func comparePlaces(a, b touch) int {
	if c := cmp.Compare(a.access.Name, b.access.Name); c != 0 {
		return c
	}
	return slices.CompareFunc(a.data, b.data, func(a, b model.Datum) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Int, b.Int), cmp.Compare(a.Text, b.Text))
	})
}

// query reads the images at places, of all rows if there are none. found must not keep the slice.
func (t *transaction) query(ctx context.Context, g *group, places []touch, lock bool, found func([]row)) (err error) {
	rel := g.rel
	defer func() {
		if err != nil {
			err = fmt.Errorf("aside: reading what was touched of %s: %w", rel.Name, err)
		}
	}()
	query, args := selectImages(g, places, lock)
	from := t.look
	if from == nil {
		from = t.tx
	}
	rows, err := from.QueryContext(ctx, query, args...)
	if err != nil {
		return t.note(ctx, err)
	}
	defer rows.Close()
	var some []row
	for rows.Next() {
		rec := reflect.New(rel.Record).Interface()
		if err := rows.Scan(rel.Pointers(rec, rel.Images)...); err != nil {
			return err
		}
		image, err := rel.Image(rec)
		if err != nil {
			return err
		}
		if some = append(some, rowOf(rel, image)); len(some) == chunk {
			found(some)
			some = some[:0]
		}
	}
	found(some)
	return t.note(ctx, rows.Err())
}

// selectImages is "SELECT images FROM table WHERE a IN (...) OR (b, c) IN (...) ORDER BY key FOR NO KEY
// UPDATE", with the scope where the table has one. The lock is the one that an UPDATE takes which leaves the key alone: a stronger one would hold up inserts of rows
// that refer to these.
func selectImages(g *group, places []touch, lock bool) (string, []any) {
	rel := g.rel
	var b strings.Builder
	var args []any
	b.WriteString("SELECT " + columns(rel, rel.Images) + " FROM " + table(rel.Name))
	for i, p := range places {
		switch {
		case i == 0:
			b.WriteString(" WHERE ")
			if rel.Scope >= 0 {
				b.WriteString("(")
			}
		case places[i-1].access == p.access:
			b.WriteString(", ")
		default:
			b.WriteString(") OR ")
		}
		if i == 0 || places[i-1].access != p.access {
			b.WriteString("(" + columns(rel, p.access.Columns) + ") IN (")
		}
		for j, d := range p.data {
			b.WriteString(map[bool]string{true: "(", false: ", "}[j == 0])
			args = append(args, d.Arg())
			b.WriteString("$" + strconv.Itoa(len(args)))
		}
		b.WriteString(")")
	}
	if len(places) > 0 {
		b.WriteString(")")
	}
	if rel.Scope >= 0 {
		args = append(args, g.scope.Arg())
		b.WriteString(map[bool]string{true: ") AND ", false: " WHERE "}[len(places) > 0])
		b.WriteString(quote(rel.Columns[rel.Scope].Name) + " = $" + strconv.Itoa(len(args)))
	}
	b.WriteString(" ORDER BY " + columns(rel, rel.Key.Columns))
	if lock {
		b.WriteString(" FOR NO KEY UPDATE")
	}
	return b.String(), args
}

// imageAt is an image of which only the columns of an access, and the scope, are known.
func imageAt(p touch) model.Image {
	image := make(model.Image, len(p.rel.Images))
	put := func(column int, d model.Datum) {
		at, _ := slices.BinarySearch(p.rel.Images, column)
		image[at] = d
	}
	for i, c := range p.access.Columns {
		put(c, p.data[i])
	}
	if p.rel.Scope >= 0 {
		put(p.rel.Scope, p.scope)
	}
	return image
}

func columns(rel *model.Relation, at []int) string {
	names := make([]string, len(at))
	for i, c := range at {
		names[i] = quote(rel.Columns[c].Name)
	}
	return strings.Join(names, ", ")
}

func table(name string) string {
	parts := strings.Split(name, ".")
	for i, p := range parts {
		parts[i] = quote(p)
	}
	return strings.Join(parts, ".")
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

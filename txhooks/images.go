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
	return row{rel, comparable(rel.Key.OfImage(nil, image)), image}
}

// comparable makes a string that only equal values have.
func comparable(data []model.Datum) string {
	var b strings.Builder
	for _, d := range data {
		fmt.Fprintf(&b, "%d:%d:%d:%s", d.Kind, d.Int, len(d.Text), d.Text)
	}
	return b.String()
}

// group is what is touched of one table.
type group struct {
	rel    *model.Relation
	all    bool
	places []touch
	seen   map[string]bool
}

// groups sorts touches by table: whoever locks rows of several tables does it in the order of their names.
func groups(touches []touch) []*group {
	var groups []*group
	of := make(map[*model.Relation]*group)
	for _, p := range touches {
		g := of[p.rel]
		if g == nil {
			g = &group{rel: p.rel, seen: make(map[string]bool)}
			of[p.rel] = g
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

func (g *group) keys() []row {
	rows := make([]row, len(g.places))
	for i, p := range g.places {
		rows[i] = rowOf(g.rel, imageAt(p.access, p.data))
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
		return t.query(ctx, g.rel, nil, lock, found)
	}
	// Rows are locked in the order of one statement, and in key order from one to the next as far as we can tell without
	// the database's collation: two transactions that touch the same thousands of rows must not meet head on.
	slices.SortStableFunc(g.places, comparePlaces)
	for places := range slices.Chunk(g.places, chunk) {
		if err := t.query(ctx, g.rel, places, lock, found); err != nil {
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
func (t *transaction) query(ctx context.Context, rel *model.Relation, places []touch, lock bool, found func([]row)) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("aside: reading what was touched of %s: %w", rel.Name, err)
		}
	}()
	query, args := selectImages(rel, places, lock)
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

// selectImages is "SELECT images FROM table WHERE a IN (...) OR (b, c) IN (...) ORDER BY key FOR NO KEY UPDATE". The lock is the
// one that an UPDATE takes which leaves the key alone: a stronger one would hold up inserts of rows that refer to these.
func selectImages(rel *model.Relation, places []touch, lock bool) (string, []any) {
	var b strings.Builder
	var args []any
	b.WriteString("SELECT " + columns(rel, rel.Images) + " FROM " + table(rel.Name))
	for i, p := range places {
		switch {
		case i == 0:
			b.WriteString(" WHERE ")
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
	b.WriteString(" ORDER BY " + columns(rel, rel.Key.Columns))
	if lock {
		b.WriteString(" FOR NO KEY UPDATE")
	}
	return b.String(), args
}

// imageAt is an image of which only the columns of an access are known.
func imageAt(a *model.Access, data []model.Datum) model.Image {
	image := make(model.Image, len(a.Relation().Images))
	for i, c := range a.Columns {
		at, _ := slices.BinarySearch(a.Relation().Images, c)
		image[at] = data[i]
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

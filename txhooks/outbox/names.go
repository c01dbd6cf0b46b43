package outbox

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/asidego/aside/model"
)

// A row names a table with its schema. A process knows a table by Spec.Name, which may leave the schema to the search path:
// the database is asked once which table that is.

// qualify asks for the schemas of the consumer's tables.
func (o *Outbox) qualify(ctx context.Context) error {
	relations := o.consumer.Relations()
	quoted := make([]string, len(relations))
	for i, rel := range relations {
		schema, name, ok := strings.Cut(rel.Name, ".")
		if quoted[i] = quote(schema); ok {
			quoted[i] += "." + quote(name)
		}
	}
	list, err := json.Marshal(quoted)
	if err != nil {
		return err
	}
	rows, err := o.db.QueryContext(ctx, `SELECT u.at - 1, n.nspname || '.' || c.relname
		FROM jsonb_array_elements_text($1::text::jsonb) WITH ORDINALITY AS u (name, at)
		JOIN pg_class c ON c.oid = to_regclass(u.name) JOIN pg_namespace n ON n.oid = c.relnamespace`, string(list))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var at int
		var name string
		if err := rows.Scan(&at, &name); err != nil {
			return err
		}
		o.writer.known.Store(relations[at], name)
	}
	return rows.Err()
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// relations are the consumer's tables by every name that a row may give them. A name without schema may be meant for
// another schema by whoever wrote it; to be told of what does not concern one is harmless.
func (o *Outbox) relations() map[string][]*model.Relation {
	named := make(map[string][]*model.Relation)
	for _, rel := range o.consumer.Relations() {
		named[rel.Name] = append(named[rel.Name], rel)
		if name := o.writer.name(rel); name != rel.Name {
			named[name] = append(named[name], rel)
			// Whoever does not know the schema yet writes the bare name.
			if _, bare, ok := strings.Cut(name, "."); ok && bare != rel.Name {
				named[bare] = append(named[bare], rel)
			}
		}
	}
	return named
}

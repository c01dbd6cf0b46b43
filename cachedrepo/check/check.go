// Package check compares declared tables with a database, as the command "aside check" and cachedrepo.Cache.Check do: for
// a test, a step of CI, or a command of your own. It needs no cache and no Redis, and imports no driver.
package check

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"slices"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/model"
)

// Querier is a database, as *sql.DB, *sqlx.DB and *txhooks.DB are.
type Querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// Tables reads the catalog of db in one statement and returns what it finds, sorted. What allow names, as "code:table" or
// "code", only warns. Its error says that the database did not answer, or that allow names a code that does not exist.
func Tables(ctx context.Context, db Querier, tables model.Tables, allow []string) (finding.List, error) {
	if err := finding.Allow(allow).Check(); err != nil {
		return nil, err
	}
	rels, err := relations(tables)
	if err != nil {
		return nil, err
	}
	facts, err := catalog.Read(ctx, db, names(rels))
	if err != nil {
		return nil, fmt.Errorf("check: reading the catalog: %w", err)
	}
	return judge(facts, rels, allow), nil
}

func judge(facts *catalog.Facts, rels []*model.Relation, allow finding.Allow) finding.List {
	list := catalog.JudgeServer(facts, allow)
	for _, rel := range rels {
		for _, f := range catalog.Judge(facts, rel, allow).Findings {
			if !slices.Contains(list, f) { // a table that is declared twice
				list = append(list, f)
			}
		}
	}
	list.Sort()
	return list
}

// relations lists tables, each once.
func relations(tables model.Tables) ([]*model.Relation, error) {
	var rels []*model.Relation
	for i, t := range tables {
		if t == nil || reflect.ValueOf(t).IsNil() {
			return nil, fmt.Errorf("check: table %d of %d is nil", i+1, len(tables))
		}
		if rel := t.Relation(); !slices.Contains(rels, rel) {
			rels = append(rels, rel)
		}
	}
	return rels, nil
}

func names(rels []*model.Relation) []string {
	names := make([]string, 0, len(rels))
	for _, rel := range rels {
		if !slices.Contains(names, rel.Name) {
			names = append(names, rel.Name)
		}
	}
	return names
}

package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/finding"
)

// actions finds foreign keys by which a write to another table changes rows of this one.
func (j *judge) actions() {
	advice := fmt.Sprintf("capture the table (aside capture), make it NO ACTION and change these rows by statements of their own, or touch them (txhooks.Touch) and allow %q",
		finding.Cascade+":"+j.rel.Name)
	for _, a := range j.table.Actions {
		cached := slices.ContainsFunc(a.Columns, func(name string) bool {
			return slices.ContainsFunc(j.rel.Columns, func(c modelColumn) bool { return c.Name == name })
		})
		var does []string
		switch {
		case a.Delete == "c":
			does = append(does, "ON DELETE CASCADE")
		case a.Delete == "n" && cached:
			does = append(does, "ON DELETE SET NULL")
		case a.Delete == "d" && cached:
			does = append(does, "ON DELETE SET DEFAULT")
		}
		if cached { // else only columns change that no record has
			switch a.Update {
			case "c":
				does = append(does, "ON UPDATE CASCADE")
			case "n":
				does = append(does, "ON UPDATE SET NULL")
			case "d":
				does = append(does, "ON UPDATE SET DEFAULT")
			}
		}
		if does != nil {
			j.add(finding.Cascade, finding.Refuse, a.Name, advice,
				fmt.Sprintf("%s: a write to %s changes rows here, and nobody ends their entries", strings.Join(does, " "), a.References))
		}
	}
}

// Bits of pg_trigger.tgtype.
const (
	forEachRow = 1 << iota
	before
)

// triggers finds code in the database that changes rows beside the statement that fires it.
func (j *judge) triggers() {
	for _, t := range j.table.Triggers {
		if t.Type&(forEachRow|before) == forEachRow|before && !t.Writes && !t.Nulls {
			continue // it can change the row that is written and nothing else, and the statement returns that
		}
		if j.captured && (t.Type&before == 0 || !t.Nulls || t.Writes) {
			continue // what it changes here is captured, and elsewhere it is the other table's trigger-other
		}
		text := fmt.Sprintf("function %s runs with writes: rows that it changes are not seen", t.Function)
		switch {
		case t.Type&before != 0 && t.Nulls && !t.Writes:
			text = fmt.Sprintf("function %s may suppress a write (RETURN NULL), which looks like a missing row", t.Function)
		case t.Type&before == 0 && !t.Writes:
			text = fmt.Sprintf("function %s runs after writes; its text has no statement that writes", t.Function)
		}
		j.add(finding.Trigger, finding.Warn, t.Name, "let the statement do what the trigger does, capture the table (aside capture), or touch the rows that it changes (txhooks.Touch)", text)
	}
	if j.captured {
		return
	}
	for _, name := range j.table.Rules {
		j.add(finding.Trigger, finding.Warn, name, "replace the rule", "a rule rewrites statements that write to the table")
	}
	for _, t := range j.table.Others {
		j.add(finding.TriggerOther, finding.Warn, t.Name, fmt.Sprintf("if it changes rows here, capture the table (aside capture), or touch them where %s is written (txhooks.Touch)", t.Table),
			fmt.Sprintf("function %s, a trigger of %s, names this table: rows that it changes are not seen", t.Function, t.Table))
	}
}

package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/model"
)

// indexes looks for the index that makes an access what it is declared to be.
func (j *judge) indexes(a *model.Access) {
	var names []string
	for _, c := range a.Columns {
		names = append(names, j.rel.Columns[c].Name)
	}
	scope := ""
	if j.rel.Scope >= 0 {
		scope = j.rel.Columns[j.rel.Scope].Name
	}
	if !a.Unique {
		for i := range j.table.Indexes {
			if x := &j.table.Indexes[i]; x.Valid && x.leads(names, scope) && implied(x.Predicate, j.rel.Filter, names) {
				return
			}
		}
		j.add(finding.NoIndex, finding.Note, a.Name, fmt.Sprintf("CREATE INDEX ON %s (%s)", j.rel.Name, strings.Join(names, ", ")),
			"no index begins with these columns: every list reads the whole table")
		return
	}
	var almost, fix []string
	for i := range j.table.Indexes {
		x := &j.table.Indexes[i]
		if !x.Unique || !x.within(names, scope) {
			continue
		}
		why := ""
		switch {
		case !x.Valid || !x.Ready:
			why = "is not valid: it was never built to its end"
			fix = append(fix, "REINDEX INDEX "+x.Name)
		case !x.Immediate:
			why = "is deferrable: within a transaction two rows may have the value"
			fix = append(fix, "make the constraint NOT DEFERRABLE")
		case !implied(x.Predicate, j.rel.Filter, names):
			why = fmt.Sprintf("holds only WHERE %s, which Spec.Filter does not say", x.Predicate)
			fix = append(fix, fmt.Sprintf("say so (Filter: %q) if no other rows are read, or make the index cover all", x.Predicate))
		default:
			return
		}
		almost = append(almost, x.Name+" "+why)
	}
	text, advice := "no unique index has these columns and no others", fmt.Sprintf("CREATE UNIQUE INDEX ON %s (%s), or declare it with NewIndex", j.rel.Name, strings.Join(names, ", "))
	if almost != nil {
		text, advice = "index "+strings.Join(almost, "; index "), strings.Join(fix, "; or ")
	} else if x := j.expression(names); x != "" {
		text = "index " + x + " is over an expression: the column itself may have a value twice"
	}
	j.add(finding.NotUnique, finding.Refuse, a.Name, advice, text, a)
}

// within tells whether the index is over some of the columns and no others: a unique index over fewer columns makes more
// of them unique as well. The scope may be among them: it is part of every key.
func (x *Index) within(names []string, scope string) bool {
	if len(x.Columns) == 0 || x.Expressions {
		return false
	}
	others := 0
	for _, c := range x.Columns {
		switch {
		case c == nil:
			return false
		case slices.Contains(names, *c):
			others++
		case scope == "" || *c != scope:
			return false
		}
	}
	return others > 0
}

// leads tells whether a search for these columns can use the index.
func (x *Index) leads(names []string, scope string) bool {
	left := len(names)
	for _, c := range x.Columns {
		switch {
		case left == 0:
			return true
		case c == nil:
			return false
		case slices.Contains(names, *c):
			left--
		case scope == "" || *c != scope:
			return false
		}
	}
	return left == 0
}

// expression is a unique index with an expression that could be meant for the columns.
func (j *judge) expression(names []string) string {
	for _, x := range j.table.Indexes {
		if x.Unique && x.Expressions && len(x.Columns) == len(names) {
			return x.Name
		}
	}
	return ""
}

// implied tells whether all rows that are found meet the predicate of a partial index: it is part of the table's filter,
// or says no more than that the columns compared are not NULL. It compares texts and is no prover.
func implied(predicate, filter string, names []string) bool {
	if predicate == "" {
		return true
	}
	known := conjuncts(filter)
	for _, name := range names {
		known = append(known, normal(name+" IS NOT NULL"), normal(`"`+name+`" IS NOT NULL`))
	}
	for _, c := range conjuncts(predicate) {
		if !slices.Contains(known, c) {
			return false
		}
	}
	return true
}

// conjuncts splits a condition at its outermost ANDs.
func conjuncts(condition string) []string {
	s := normal(condition)
	var all []string
	from, depth, quoted := 0, 0, byte(0)
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted != 0:
			if c == quoted {
				quoted = 0
			}
		case c == '\'' || c == '"':
			quoted = c
		case c == '(':
			depth++
		case c == ')':
			depth--
		case depth == 0 && strings.HasPrefix(s[i:], " between "):
			return []string{s} // its AND is another one
		case depth == 0 && strings.HasPrefix(s[i:], " and "):
			all = append(all, normal(s[from:i]))
			from = i + len(" and ")
			i = from - 1
		}
	}
	if all == nil {
		return []string{s}
	}
	return append(all, normal(s[from:]))
}

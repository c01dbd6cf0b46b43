package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/model"
)

// Verdict is what the facts come to for one table.
type Verdict struct {
	Findings finding.List

	// Rows says of each access (the key, unique and plain indexes) what may be cached under its values.
	Rows map[*model.Access]Rows

	Captured bool // every write to the table is, whoever makes it
}

// Rows says what may be cached under the values of an access.
type Rows struct {
	Refused bool // nothing
	Absence Absence
}

// Absence says for which values "there is no such row" may be stored. A row that is stored under its own value is found
// by whoever changes it, whatever the type: that is compared at each fill. A row that does not exist has no value of its
// own, and who inserts it later ends the entry under the spelling of the row: it must be the only one.
type Absence struct {
	Allowed bool
	UUIDs   []int // positions of texts that must be spelled as PostgreSQL spells a uuid, in scope and columns
}

// Judge compares a table with the catalog.
func Judge(f *Facts, rel *model.Relation, allow finding.Allow) Verdict {
	j := &judge{facts: f, rel: rel, table: f.Table(rel.Name), allow: allow, rows: make(map[*model.Access]Rows)}
	for _, a := range rel.Accesses() {
		j.rows[a] = Rows{}
	}
	j.relation()
	if j.table != nil && j.table.Schema != "" {
		j.columns()
		j.accesses()
		j.capture()
		if !j.captured {
			j.actions()
		}
		j.triggers()
	}
	return Verdict{j.findings, j.rows, j.captured}
}

// JudgeServer judges what concerns all tables.
func JudgeServer(f *Facts, allow finding.Allow) finding.List {
	var l finding.List
	if name := f.foreign(); name != "" {
		l = append(l, finding.Finding{
			Code: finding.Server, Severity: finding.Refuse, Text: "the database is " + name + ", not PostgreSQL",
			Advice: "its transactions, locks and catalog differ in ways that caching rests on: use PostgreSQL 12 or later",
		})
		return allow.Apply(l)
	}
	if f.Version < 120000 {
		l = append(l, finding.Finding{
			Code: finding.Server, Severity: finding.Refuse, Text: fmt.Sprintf("the database is PostgreSQL %d", f.Version/10000),
			Advice: "use PostgreSQL 12 or later",
		})
	}
	if f.Recovery {
		l = append(l, finding.Finding{
			Code: finding.Recovery, Severity: finding.Refuse, Text: "the connection leads to a standby, which lags behind: what is read there may be older than an invalidation",
			Advice: "connect to the primary: target_session_attrs=read-write in the DSN",
		})
	}
	if f.Settings.LockTimeout == "0" {
		l = append(l, finding.Finding{
			Code: finding.LockTimeout, Severity: finding.Note, Object: "lock_timeout", Text: "a write waits for a locked row as long as it takes",
			Advice: "ALTER ROLE ... SET lock_timeout = '5s', or options=-c%20lock_timeout=5s in the DSN",
		})
	}
	if f.Settings.Isolation == "serializable" {
		l = append(l, finding.Finding{
			Code: finding.Isolation, Severity: finding.Note, Object: "default_transaction_isolation", Text: "cached reads take no part in SERIALIZABLE",
			Advice: "read within Run what a serializable transaction decides by",
		})
	}
	return allow.Apply(l)
}

type judge struct {
	facts    *Facts
	rel      *model.Relation
	table    *Table
	allow    finding.Allow
	findings finding.List
	rows     map[*model.Access]Rows
	captured bool
}

// add notes a finding. What refuses and is not allowed ends the caching of accesses; of all if none are given.
func (j *judge) add(code string, s finding.Severity, object, advice, text string, accesses ...*model.Access) {
	f := j.allow.Apply(finding.List{{Code: code, Severity: s, Table: j.rel.Name, Object: object, Text: text, Advice: advice}})[0]
	if slices.Contains(j.findings, f) {
		f.Code = "" // one column of several indexes is one finding
	}
	if f.Code != "" {
		j.findings = append(j.findings, f)
	}
	if f.Severity != finding.Refuse || !StopsCaching(code) {
		return
	}
	if len(accesses) == 0 {
		accesses = j.rel.Accesses()
	}
	for _, a := range accesses {
		j.rows[a] = Rows{Refused: true}
	}
}

// StopsCaching tells whether a refusal of this code is about what is cached. The others make reads or writes fail by
// themselves, or go away when a migration has been applied.
func StopsCaching(code string) bool {
	switch code {
	case finding.MissingTable, finding.MissingColumn, finding.WrittenColumn:
		return false
	}
	return true
}

// relation judges what the name leads to.
func (j *judge) relation() {
	t := j.table
	if t == nil || t.Schema == "" {
		advice := "apply the migrations, or name its schema: the search_path of " + j.facts.Role + " does not have it"
		if t != nil && len(t.Namesakes) > 0 {
			advice = fmt.Sprintf("name its schema: Spec.Name: %q", t.Namesakes[0].Schema+"."+j.rel.Name)
		}
		j.add(finding.MissingTable, finding.Refuse, "", advice, "there is no such table in database "+j.facts.Database)
		return
	}
	kind := ""
	switch t.Kind {
	case "r", "p":
	case "v":
		kind = "a view: what it shows changes with the tables behind it"
	case "m":
		kind = "a materialized view: REFRESH changes it, and nobody hears of that"
	case "f":
		kind = "a foreign table: its rows change elsewhere"
	default:
		kind = "no table (relkind " + t.Kind + ")"
	}
	switch {
	case kind != "":
		j.add(finding.Relkind, finding.Refuse, "", "cache the tables behind it, or read it without a cache", "it is "+kind)
	case len(t.Children) > 0:
		j.add(finding.Relkind, finding.Refuse, "", "use a partitioned table, or cache the tables that inherit from it",
			"it has children by inheritance ("+strings.Join(t.Children, ", ")+"): their rows are read with it and written without it, and its unique indexes do not hold for them")
	case len(t.Parents) > 0:
		j.add(finding.Relkind, finding.Warn, "", "read and write "+t.Parents[0]+" alone", "it is part of "+t.Parents[0]+": what is written there changes rows here, and is not seen")
	}
	switch t.Persistence {
	case "u":
		j.add(finding.Persistence, finding.Warn, "", "ALTER TABLE ... SET LOGGED, or flush the cache when the server has crashed", "it is unlogged: after a crash it is empty, and the cache is not")
	case "t":
		j.add(finding.Persistence, finding.Refuse, "", "use an ordinary table", "it is a temporary table: each session has its own")
	}
	if t.Active && j.rel.Scope < 0 {
		j.add(finding.RowSecurity, finding.Refuse, "", "name the tenant column in Spec.Scope, or connect with a role that the policies do not apply to",
			"row security applies to "+j.facts.Role+": what one user may see would be cached for all")
	}
	j.namesakes()
}

// namesakes refuses a name that leads to different tables under different search_paths: keys have the name, not the
// schema, and two schemas would share entries.
func (j *judge) namesakes() {
	if strings.Contains(j.rel.Name, ".") {
		return
	}
	var schemas []string
	for _, n := range j.table.Namesakes {
		if !n.Temp {
			schemas = append(schemas, n.Schema)
			continue
		}
		j.add(finding.AmbiguousName, finding.Warn, "", fmt.Sprintf("name the schema: Spec.Name: %q", j.table.Schema+"."+j.rel.Name),
			"a session has a temporary table of this name, which it sees in place of "+j.table.Schema+"."+j.rel.Name)
	}
	if len(schemas) > 0 {
		j.add(finding.AmbiguousName, finding.Refuse, "", fmt.Sprintf("name the schema: Spec.Name: %q", j.table.Schema+"."+j.rel.Name),
			"it means "+j.table.Schema+"."+j.rel.Name+" now, and another table where search_path begins otherwise: the name exists in "+strings.Join(schemas, ", ")+" too")
	}
}

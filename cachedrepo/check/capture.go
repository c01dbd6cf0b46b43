package check

import (
	"slices"

	"github.com/asidego/aside/cachedrepo/finding"
	"github.com/asidego/aside/cachedrepo/internal/catalog"
	"github.com/asidego/aside/model"
)

// declared lists the columns that capture needs, of each table once: what several records declare of one comes together.
func declared(rels []*model.Relation) []Declared {
	var all []Declared
	for _, name := range names(rels) {
		d := Declared{Table: name}
		for _, rel := range rels {
			for _, at := range rel.Images {
				if column := rel.Columns[at].Name; rel.Name == name && !slices.Contains(d.Columns, column) {
					d.Columns = append(d.Columns, column)
				}
			}
		}
		all = append(all, d)
	}
	return all
}

// ofCapture keeps what concerns capture, and adds the tables that are not captured at all.
func ofCapture(facts *catalog.Facts, rels []*model.Relation, list finding.List) finding.List {
	about := []string{finding.CaptureStale, finding.CapturePartition, finding.CaptureDisabled, finding.MissingTable, finding.MissingColumn, finding.Server}
	list = slices.DeleteFunc(list, func(f finding.Finding) bool { return !slices.Contains(about, f.Code) })
	for _, rel := range rels {
		about := func(f finding.Finding) bool { return f.Table == rel.Name }
		if !catalog.Judge(facts, rel, nil).Captured && !slices.ContainsFunc(list, about) {
			list = append(list, finding.Finding{
				Code: finding.NotCaptured, Severity: finding.Warn, Table: rel.Name,
				Text: "writes of other programs, cascades and triggers are not captured", Advice: `apply what "aside capture" writes`,
			})
		}
	}
	list.Sort()
	return list
}

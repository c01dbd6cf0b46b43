package migrations

import (
	"strings"

	"github.com/asidego/aside/model"
)

// Capture returns the statement that has every change of a table written into aside_outbox by triggers, whoever makes it,
// and the statement that ends that: for files of migrations of your own, which come after Apply. "aside capture" writes
// such files. See docs/capture.md.
//
// Both apply to the table and its partitions as they are when they are executed. up is to be executed again when an index
// was added to the Spec, and when a partition was added; what other services have had captured stays. With subscriber it
// also captures what logical replication applies on this server, row by row.
func Capture(rel *model.Relation, subscriber bool) (up, down string) {
	columns := make([]string, len(rel.Images))
	for i, c := range rel.Images {
		columns[i] = rel.Columns[c].Name
	}
	return CaptureColumns(rel.Name, columns, subscriber)
}

// CaptureColumns is Capture of a table by its name and the columns of its key, its indexes and its scope.
func CaptureColumns(table string, columns []string, subscriber bool) (up, down string) {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = literal(c)
	}
	also := ""
	if subscriber {
		also = ", true"
	}
	return "SELECT aside_capture(" + literal(table) + ", ARRAY[" + strings.Join(quoted, ", ") + "]" + also + ");\n",
		"SELECT aside_uncapture(" + literal(table) + ");\n"
}

// literal is a string constant, which means the same under any standard_conforming_strings.
func literal(s string) string {
	q := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(q, `\`, `\\`)
	}
	return q
}

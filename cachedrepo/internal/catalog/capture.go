package catalog

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/asidego/aside/cachedrepo/finding"
)

// CaptureVersion is the first argument of the triggers that aside_capture makes, see migrations/sql/0004_capture.up.sql.
const CaptureVersion = "1"

// statementTriggers are what every table and partition has that is captured.
var statementTriggers = []string{"aside_capture_delete", "aside_capture_insert", "aside_capture_truncate", "aside_capture_update"}

const rowTrigger = "aside_capture_row" // on the root alone; PostgreSQL clones it to partitions

// capture judges the triggers by which writes of others are captured. A table without any is not captured, which is no
// finding: nobody said that it is.
func (j *judge) capture() {
	some, whole := false, true
	for _, c := range j.table.Captures {
		some = some || len(c.Triggers) > 0
	}
	if !some {
		return
	}
	note := func(code, object, text string) {
		whole = false
		j.add(code, finding.Warn, object, "apply what \"aside capture\" writes", text)
	}
	for i, c := range j.table.Captures {
		if len(c.Triggers) == 0 && i > 0 {
			note(finding.CapturePartition, c.Table, "the partition has no triggers: what is written to it by its own name is not captured")
			continue
		}
		var has, disabled []string
		for _, t := range c.Triggers {
			if t.Enabled == "A" || t.Name == rowTrigger && t.Enabled == "R" {
				has = append(has, t.Name)
			} else {
				disabled = append(disabled, t.Name)
			}
		}
		for _, name := range statementTriggers {
			if !slices.Contains(has, name) && !slices.Contains(disabled, name) {
				disabled = append(disabled, name)
			}
		}
		if disabled != nil {
			note(finding.CaptureDisabled, c.Table, fmt.Sprintf("%s: missing, disabled, or not ENABLE ALWAYS: what they should capture is not", strings.Join(disabled, ", ")))
		}
		seen := make(map[string]bool) // most often all have the same
		for _, t := range c.Triggers {
			if why := j.stale(t.Arguments); why != "" && !seen[why] {
				seen[why] = true
				note(finding.CaptureStale, c.Table, why)
			}
		}
	}
	j.captured = whole
}

// stale is what is wrong with the arguments of a trigger. Columns that another service needs do no harm; one that the table no longer
// has does, for each change then ends all entries of the table.
func (j *judge) stale(arguments string) string {
	text, err := hex.DecodeString(arguments)
	args := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if err != nil || len(args) < 3 || args[0] != CaptureVersion {
		return "the triggers were made by another version of the library"
	}
	if full := j.table.Schema + "." + j.table.Relation; args[1] != full {
		return fmt.Sprintf("the triggers say %s of what is now %s", args[1], full)
	}
	captured := args[2:]
	for _, at := range j.rel.Images {
		name := j.rel.Columns[at].Name
		if !slices.Contains(captured, name) && j.table.column(name) != nil {
			return fmt.Sprintf("column %s belongs to the key, an index or the scope and is not captured", name)
		}
	}
	for _, name := range captured {
		if j.table.column(name) == nil {
			return fmt.Sprintf("column %s is captured and the table no longer has it: each change ends all entries of the table", name)
		}
	}
	return ""
}

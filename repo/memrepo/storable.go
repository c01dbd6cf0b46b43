package memrepo

import (
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/asidego/aside/model"
	"github.com/asidego/aside/repo/internal/column"
)

var errText = errors.New("no text in PostgreSQL holds a NUL byte or what is not UTF-8")

// storable refuses values that the server would refuse, whether they are stored or asked for.
func storable(data []model.Datum) error {
	for _, d := range data {
		if d.Kind == model.Text && !validText(d.Text) {
			return errText
		}
	}
	return nil
}

func storableRecord(rel *model.Relation, rec any) error {
	for i := range rel.Columns {
		v, err := column.Of(rel, rec, i)
		if err != nil {
			return err
		}
		if s, ok := v.(string); ok && !validText(s) {
			return errText
		}
	}
	return nil
}

func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

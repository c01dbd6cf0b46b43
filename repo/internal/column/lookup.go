package column

import (
	"strconv"
	"strings"

	"github.com/asidego/aside/model"
)

// Lookup returns a value that can be the key of a map and is equal for equal data only.
func Lookup(data []model.Datum) any {
	if len(data) == 1 {
		return data[0]
	}
	var b strings.Builder
	for _, d := range data {
		b.WriteByte(byte('0' + d.Kind))
		switch d.Kind {
		case model.Int, model.Bool:
			b.WriteString(strconv.FormatInt(d.Int, 36))
		case model.Text, model.Bytes:
			b.WriteString(strconv.Itoa(len(d.Text)))
			b.WriteByte(':')
			b.WriteString(d.Text)
		}
		b.WriteByte(',')
	}
	return b.String()
}

package txhooks

import (
	"encoding/binary"
	"errors"
	"slices"

	"github.com/asidego/aside/model"
)

// errSpoiled is what reading says of bytes that are not those that were written.
var errSpoiled = errors.New("changes that were put in a temporary file are not there any more")

// A change is, in a block: the position of its table, flags, and the images that there are. An image is its length and its
// values; a value is its kind, then a signed number for Int and Bool, a length and bytes for Text and Bytes.
const (
	hasBefore = 1 << iota
	hasAfter
	sameImages // After equals Before and is left out
)

func (s *spool) encode(b []byte, c Change) []byte {
	s.name(c.Relation)
	at := slices.Index(s.tables, c.Relation)
	var flags byte
	if c.Before != nil {
		flags |= hasBefore
	}
	switch {
	case c.After == nil:
	case c.Before != nil && slices.Equal(c.Before, c.After):
		flags |= sameImages
	default:
		flags |= hasAfter
	}
	b = append(binary.AppendUvarint(b, uint64(at)), flags)
	if flags&hasBefore != 0 {
		b = encodeImage(b, c.Before)
	}
	if flags&hasAfter != 0 {
		b = encodeImage(b, c.After)
	}
	return b
}

func encodeImage(b []byte, image model.Image) []byte {
	b = binary.AppendUvarint(b, uint64(len(image)))
	for _, d := range image {
		b = append(b, byte(d.Kind))
		switch d.Kind {
		case model.Null:
		case model.Int, model.Bool:
			b = binary.AppendVarint(b, d.Int)
		default:
			b = append(binary.AppendUvarint(b, uint64(len(d.Text))), d.Text...)
		}
	}
	return b
}

// decode yields the changes in a block. It returns false if yield did.
func (s *spool) decode(b []byte, yield func(Change) bool) bool {
	r := reader{rest: b}
	for len(r.rest) > 0 {
		at, flags := r.number(), r.octet()
		var c Change
		if at < uint64(len(s.tables)) {
			c.Relation = s.tables[at]
		} else {
			r.spoiled = true
		}
		if flags&hasBefore != 0 {
			c.Before = r.image()
		}
		switch {
		case flags&sameImages != 0:
			c.After = c.Before
		case flags&hasAfter != 0:
			c.After = r.image()
		}
		if r.spoiled {
			s.lose(errSpoiled)
			return true
		}
		if !yield(c) {
			return false
		}
	}
	return true
}

// reader takes values off the front of a block. After the first that is not there it returns zeros.
type reader struct {
	rest    []byte
	spoiled bool
}

func (r *reader) image() model.Image {
	n := r.number()
	if r.spoiled || n > uint64(len(r.rest)) { // a value takes a byte at least
		r.spoiled = true
		return nil
	}
	image := make(model.Image, n)
	for i := range image {
		d := model.Datum{Kind: model.DatumKind(r.octet())}
		switch d.Kind {
		case model.Null:
		case model.Int, model.Bool:
			v, n := binary.Varint(r.rest)
			d.Int = v
			r.skip(n)
		default:
			d.Text = r.text(r.number())
		}
		image[i] = d
	}
	return image
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) octet() byte {
	if len(r.rest) == 0 {
		r.spoiled = true
		return 0
	}
	b := r.rest[0]
	r.rest = r.rest[1:]
	return b
}

func (r *reader) text(n uint64) string {
	if n > uint64(len(r.rest)) {
		r.spoiled = true
		return ""
	}
	text := string(r.rest[:n])
	r.rest = r.rest[n:]
	return text
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.spoiled = true
		r.rest = nil
		return
	}
	r.rest = r.rest[n:]
}

package txhooks

import (
	"errors"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"slices"
	"sync"

	"github.com/asidego/aside/model"
)

// inMemory is how many changes of one transaction are kept as they are, a few megabytes. Those after them go to a file.
const inMemory = 10_000

// blockSize is how many bytes go to the file at a time.
const blockSize = 64 << 10

// spool is a list of changes of any length that can be cut back. It holds the first inMemory changes, and of the others
// what one block takes: an UPDATE of a million rows must not need a million images, and their keys, in memory, but none
// of them may be left out either, for a cached row is found by its key alone.
//
// The file has no name from the moment it is made: it ends with the process, whatever ends that, and nobody else can open
// it. It holds values of key and index columns. Where there is no file to be had, the blocks stay in memory.
//
// A spool is not for concurrent use, but for all, keep and release, and these only once it has its last change.
type spool struct {
	head   []Change
	n      int               // how many changes there are
	tables []*model.Relation // those of the changes that are not in head; a block has their positions
	blocks []block
	tail   []byte // what is encoded and not a block yet
	file   *os.File
	size   int64 // of the blocks in file
	noFile bool

	mu      sync.Mutex // guards what follows
	lost    error      // the first block that could not be read again
	keepers int        // beside the transaction
	ended   bool       // the transaction has released it
}

// block is part of the file, or of memory.
type block struct {
	at   int64
	size int
	sum  uint32
	kept []byte // nil: in the file
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// add returns an error if changes that should have gone to a file are kept in memory, the first time.
func (s *spool) add(changes ...Change) (trouble error) {
	room := min(len(changes), max(0, inMemory-len(s.head)))
	if s.n > len(s.head) {
		room = 0 // the order is that of the calls
	}
	s.head = append(s.head, changes[:room]...)
	for _, c := range changes[room:] {
		s.tail = s.encode(s.tail, c)
		if len(s.tail) >= blockSize {
			if err := s.flush(); err != nil {
				trouble = err
			}
		}
	}
	s.n += len(changes)
	return trouble
}

// flush makes a block of the tail.
func (s *spool) flush() error {
	b := block{at: s.size, size: len(s.tail), sum: crc32.Checksum(s.tail, castagnoli)}
	err := s.write(b)
	if err != nil || s.noFile {
		s.noFile = true
		b.kept = slices.Clone(s.tail)
	} else {
		s.size += int64(b.size)
	}
	s.blocks = append(s.blocks, b)
	s.tail = s.tail[:0]
	return err
}

func (s *spool) write(b block) (err error) {
	if s.noFile {
		return nil
	}
	if s.file == nil {
		if s.file, err = unnamedFile(); err != nil {
			return err
		}
	}
	_, err = s.file.WriteAt(s.tail, b.at)
	return err
}

// unnamedFile makes a file that only this process can open, and that no exit of it leaves behind.
func unnamedFile() (*os.File, error) {
	f, err := os.CreateTemp("", "aside-changes-") // 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		_ = f.Close()
		_ = os.Remove(f.Name()) // where an open file cannot be removed
		return nil, err
	}
	return f, nil
}

// read returns a block's bytes, in buf if they come from the file.
func (s *spool) read(b block, buf []byte) ([]byte, error) {
	if b.kept != nil {
		return b.kept, nil
	}
	buf = slices.Grow(buf[:0], b.size)[:b.size]
	if n, err := s.file.ReadAt(buf, b.at); n < b.size {
		return nil, errors.Join(err, io.ErrUnexpectedEOF)
	}
	if crc32.Checksum(buf, castagnoli) != b.sum {
		return nil, errSpoiled
	}
	return buf, nil
}

// spoolMark is a length to which a spool can be cut back.
type spoolMark struct{ n, blocks, tail int }

func (s *spool) mark() spoolMark { return spoolMark{s.n, len(s.blocks), len(s.tail)} }

// cut removes what was added since m.
func (s *spool) cut(m spoolMark) {
	if m.n < len(s.head) {
		clear(s.head[m.n:])
		s.head = s.head[:m.n]
	}
	if m.blocks == len(s.blocks) {
		s.tail = s.tail[:m.tail]
	} else {
		// What was in the tail then is the beginning of a block by now.
		s.tail = s.tail[:0]
		if m.tail > 0 {
			if was, err := s.read(s.blocks[m.blocks], nil); err != nil {
				s.lose(err)
			} else {
				s.tail = append(s.tail, was[:m.tail]...)
			}
		}
		for _, b := range s.blocks[m.blocks:] {
			if b.kept == nil {
				s.size = min(s.size, b.at)
			}
		}
		clear(s.blocks[m.blocks:])
		s.blocks = s.blocks[:m.blocks]
		if s.file != nil {
			_ = s.file.Truncate(s.size) // frees the disk; what is there is written over in any case
		}
	}
	s.n = m.n
}

// all yields the changes but for those in blocks that cannot be read; lost then says why.
func (s *spool) all() iter.Seq[Change] {
	return func(yield func(Change) bool) {
		for _, c := range s.head {
			if !yield(c) {
				return
			}
		}
		var buf []byte
		for _, b := range s.blocks {
			data, err := s.read(b, buf)
			if err != nil {
				s.lose(err)
				continue
			}
			if b.kept == nil {
				buf = data
			}
			if !s.decode(data, yield) {
				return
			}
		}
		s.decode(s.tail, yield)
	}
}

func (s *spool) lose(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost == nil {
		s.lost = err
	}
}

func (s *spool) err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lost
}

// relations are the tables of all changes, and perhaps of some that were cut off.
func (s *spool) relations() []*model.Relation {
	tables := slices.Clone(s.tables)
	var last *model.Relation
	for _, c := range s.head {
		if c.Relation != last && !slices.Contains(tables, c.Relation) {
			tables = append(tables, c.Relation)
		}
		last = c.Relation
	}
	return tables
}

// name adds a table to those of the changes.
func (s *spool) name(rel *model.Relation) {
	if !slices.Contains(s.tables, rel) {
		s.tables = append(s.tables, rel)
	}
}

// keep holds the file open until release is called, though the transaction ends.
func (s *spool) keep() (release func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepers++
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.keepers--
		s.close()
	})
}

// end is the transaction's release.
func (s *spool) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.close()
}

// close closes the file if nobody needs it. The caller holds mu.
func (s *spool) close() {
	if s.ended && s.keepers == 0 && s.file != nil {
		_ = s.file.Close()
	}
}

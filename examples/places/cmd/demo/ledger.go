package main

import (
	"fmt"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// ledger holds, for each row, the highest version that a write has returned. It is a file that several processes have
// mapped into their memory, so it is neither the database nor the cache under test, and reading it takes nanoseconds: no
// round trip gives a stale entry the time to go away.
type ledger struct {
	memory []byte
	rows   []atomic.Int64
}

func createLedger(path string, rows int) error {
	return os.WriteFile(path, make([]byte, 8*rows), 0o600)
}

func openLedger(path string) (*ledger, error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close() // the mapping stays
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	memory, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	// A mapping begins at a page, so each row is aligned as an atomic integer must be.
	rows := unsafe.Slice((*atomic.Int64)(unsafe.Pointer(unsafe.SliceData(memory))), len(memory)/8)
	return &ledger{memory, rows}, nil
}

func (l *ledger) close() error {
	l.rows = nil
	return syscall.Munmap(l.memory)
}

// floor is the least version that a read which starts now may return.
func (l *ledger) floor(row int) int64 { return l.rows[row].Load() }

// acknowledge says that a write has returned this version.
func (l *ledger) acknowledge(row int, version int64) { raise(&l.rows[row], version) }

// raise sets n to v if it is lower.
func raise(n *atomic.Int64, v int64) {
	for {
		old := n.Load()
		if old >= v || n.CompareAndSwap(old, v) {
			return
		}
	}
}

package cachedrepo

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"unsafe"
)

// An envelope is what a key's value holds:
//
//	offset  size  field
//	0       1     format version, 2
//	1       1     flags: 1 = no such row, 2 = the loader said so with sql.ErrNoRows
//	2       8     epoch of the key when the lease was asked for, see epoch.go
//	10      8     fingerprint of the record's columns and Go types
//	18      4     build: Config.Build of the process that stored it
//	22      4     CRC-32C of the key, the fields above and the payload
//	26            payload, see codec
//
// Numbers are big endian. The fingerprint stands here and not in the key: a writer that has another version of the record
// must still find the key to invalidate it. The checksum covers the key, so that a value under a foreign key is damage too.
const (
	envelopeVersion = 2
	envelopeHeader  = 26

	flagAbsent = 1
	flagNoRows = 2
)

type envelope struct {
	flags       byte
	epoch       uint64
	fingerprint uint64
	build       uint32
	payload     []byte
}

// Reasons why a value may not be used. Each is a miss with a counter of its own.
var (
	errDamaged     = errors.New("damaged")
	errFingerprint = errors.New("of another version of the record")
	errEpoch       = errors.New("of another epoch")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (e envelope) seal(key string) []byte {
	b := make([]byte, envelopeHeader, envelopeHeader+len(e.payload))
	b[0], b[1] = envelopeVersion, e.flags
	binary.BigEndian.PutUint64(b[2:], e.epoch)
	binary.BigEndian.PutUint64(b[10:], e.fingerprint)
	binary.BigEndian.PutUint32(b[18:], e.build)
	binary.BigEndian.PutUint32(b[22:], checksum(key, b[:22], e.payload))
	return append(b, e.payload...)
}

// openEnvelope checks b and returns its contents, with errFingerprint and errEpoch too; the payload is part of b.
func openEnvelope(key string, b []byte, epoch, fingerprint uint64) (envelope, error) {
	if len(b) < envelopeHeader || b[0] != envelopeVersion {
		return envelope{}, errDamaged
	}
	e := envelope{
		flags:       b[1],
		epoch:       binary.BigEndian.Uint64(b[2:]),
		fingerprint: binary.BigEndian.Uint64(b[10:]),
		build:       binary.BigEndian.Uint32(b[18:]),
		payload:     b[envelopeHeader:],
	}
	if binary.BigEndian.Uint32(b[22:]) != checksum(key, b[:22], e.payload) || e.flags&^(flagAbsent|flagNoRows) != 0 {
		return envelope{}, errDamaged
	}
	if e.epoch != epoch {
		return e, errEpoch
	}
	if e.fingerprint != fingerprint {
		return e, errFingerprint
	}
	return e, nil
}

func checksum(key string, header, payload []byte) uint32 {
	sum := crc32.Update(0, castagnoli, unsafe.Slice(unsafe.StringData(key), len(key))) // which only reads
	sum = crc32.Update(sum, castagnoli, header)
	return crc32.Update(sum, castagnoli, payload)
}

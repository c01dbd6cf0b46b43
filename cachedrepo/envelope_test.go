package cachedrepo

import (
	"bytes"
	"errors"
	"hash/crc32"
	"strings"
	"testing"
)

func TestEnvelopeIsFrozen(t *testing.T) {
	value := envelope{epoch: 0x0102030405060708, fingerprint: 0x1112131415161718, build: 0x21222324, payload: []byte{0xa1, 0x62, 'i', 'd', 7}}
	frozen(t, "value", value.seal("ns:t:id:7"), "0200010203040506070811121314151617182122232421c1f949a162696407")
	frozen(t, "no such row", envelope{flags: flagAbsent}.seal("ns:t:id:7"), "0201000000000000000000000000000000000000000038b9a85d")
	frozen(t, "no rows", envelope{flags: flagAbsent | flagNoRows, fingerprint: 1}.seal(strings.Repeat("k", 300)), "0203000000000000000000000000000000010000000013beb489")
}

func TestEnvelopeOpens(t *testing.T) {
	long := strings.Repeat("k", 1000)
	for _, key := range []string{"", "k", long[:255], long[:256], long[:257], long} {
		for _, e := range []envelope{
			{payload: []byte("payload")},
			{flags: flagAbsent, epoch: 1},
			{flags: flagAbsent | flagNoRows, fingerprint: 1<<64 - 1},
			{payload: bytes.Repeat([]byte{0xff}, 70_000), epoch: 1<<64 - 1},
		} {
			sealed := e.seal(key)
			got, err := openEnvelope(key, sealed, e.epoch, e.fingerprint)
			if err != nil || got.flags != e.flags || !bytes.Equal(got.payload, e.payload) {
				t.Fatalf("%+v, %v", got, err)
			}
			if _, err := openEnvelope(key, sealed, e.epoch+1, e.fingerprint); !errors.Is(err, errEpoch) {
				t.Errorf("another epoch: %v", err)
			}
			if _, err := openEnvelope(key, sealed, e.epoch, e.fingerprint+1); !errors.Is(err, errFingerprint) {
				t.Errorf("another fingerprint: %v", err)
			}
			for _, other := range []string{key + "x", "x" + key, strings.ToUpper(key) + "\x00"} {
				if _, err := openEnvelope(other, sealed, e.epoch, e.fingerprint); !errors.Is(err, errDamaged) {
					t.Errorf("under the key %q: %v", other, err)
				}
			}
		}
	}
}

// Damage of one bit anywhere, of one byte to anything, at the end, at the start.
func TestDamageIsSeen(t *testing.T) {
	const key = "ns:t:id:7"
	for _, e := range []envelope{
		{epoch: 3, fingerprint: 4, payload: []byte("some payload, short enough")},
		{flags: flagAbsent, epoch: 3, fingerprint: 4},
	} {
		sealed := e.seal(key)
		refuse := func(what string, at int, b []byte) {
			t.Helper()
			if got, err := openEnvelope(key, b, e.epoch, e.fingerprint); !errors.Is(err, errDamaged) {
				t.Errorf("%s at %d: %+v, %v", what, at, got, err)
			}
		}
		for i := range sealed {
			for v := 1; v < 256; v++ {
				b := bytes.Clone(sealed)
				b[i] ^= byte(v)
				refuse("another byte", i, b)
			}
			refuse("cut", i, sealed[:i])
			refuse("start cut", i, sealed[i+1:])
			refuse("a byte left out", i, append(bytes.Clone(sealed[:i]), sealed[i+1:]...))
			if i > 0 && sealed[i] != sealed[i-1] {
				b := bytes.Clone(sealed)
				b[i], b[i-1] = b[i-1], b[i]
				refuse("two bytes swapped", i, b)
			}
		}
		for _, more := range []string{"\x00", "x", string(sealed)} {
			refuse("something after the end", len(sealed), append(bytes.Clone(sealed), more...))
		}
		refuse("nothing", 0, nil)
	}
}

// A later version may mean something else by any byte, also where checksum and all fit.
func TestForeignVersionsAndFlags(t *testing.T) {
	const key = "k"
	for version := range 256 {
		for _, flags := range []byte{0, flagAbsent, flagAbsent | flagNoRows, 4, 128, 255} {
			b := envelope{flags: flags, payload: []byte("p")}.seal(key)
			b[0] = byte(version)
			sum := crc32.Checksum(append(append([]byte(key), b[:22]...), b[envelopeHeader:]...), crc32.MakeTable(crc32.Castagnoli))
			b[22], b[23], b[24], b[25] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
			_, err := openEnvelope(key, b, 0, 0)
			if known := version == envelopeVersion && flags <= flagAbsent|flagNoRows; (err == nil) != known {
				t.Errorf("version %d, flags %d: %v", version, flags, err)
			}
		}
	}
}

// FuzzEnvelope: bytes are accepted only if they are what seal makes of their own contents under that very key.
func FuzzEnvelope(f *testing.F) {
	e := envelope{epoch: 1, fingerprint: 2, payload: []byte("payload")}
	f.Add("key", e.seal("key"), uint64(1), uint64(2))
	f.Add("other", e.seal("key"), uint64(1), uint64(2))
	f.Add("key", envelope{flags: flagAbsent | flagNoRows}.seal("key"), uint64(0), uint64(0))
	f.Add("", []byte{}, uint64(0), uint64(0))
	f.Add("key", bytes.Repeat([]byte{1}, envelopeHeader), uint64(0), uint64(0))
	f.Add(strings.Repeat("k", 257), e.seal(strings.Repeat("k", 257)), uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, key string, b []byte, epoch, fingerprint uint64) {
		kept := bytes.Clone(b)
		got, err := openEnvelope(key, b, epoch, fingerprint)
		if !bytes.Equal(b, kept) {
			t.Fatal("the bytes were changed")
		}
		if err == nil {
			if again := got.seal(key); !bytes.Equal(again, b) || got.epoch != epoch || got.fingerprint != fingerprint {
				t.Fatalf("accepted %x, which is not %x", b, again)
			}
			if _, err := openEnvelope(key+"'", b, epoch, fingerprint); err == nil {
				t.Fatalf("accepted %x under two keys", b)
			}
		}
		// Whatever the payload, it comes back.
		sealed := envelope{flags: flagAbsent & uint8(epoch), epoch: epoch, fingerprint: fingerprint, payload: b}.seal(key)
		if back, err := openEnvelope(key, sealed, epoch, fingerprint); err != nil || !bytes.Equal(back.payload, b) {
			t.Fatalf("%x: %v", sealed, err)
		}
	})
}

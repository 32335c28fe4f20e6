// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Version is the version of the format.
const Version = 1

// Limits of the format, in bytes.
const (
	MaxHeader       = 8 + 16<<10
	MaxFilter       = 8 << 10
	MaxUncompressed = 4 << 20
	MaxCompressed   = MaxUncompressed + 64<<10
	MaxSegment      = 1 << 40
	MaxSequence     = 1<<63 - 1

	maxHashes = 16
)

// PrefixSize is the number of bytes of a header that are needed to determine its length.
const PrefixSize = 12

const (
	chunkMagic = 0x184D2A5C // zstd skippable frame, RFC 8878, section 3.1.2
	indexMagic = 0x184D2A5D

	fixedSize = 148 // bytes before the filter
	startSize = 40
	sumSize   = 4
)

var (
	chunkName  = [4]byte{'C', 'R', 'A', 'U'}
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Flags are the flags of a header that a reader may ignore.
type Flags uint16

// The compatible flags.
const (
	// Start marks the first chunk of a segment; HashBefore is present.
	Start Flags = 1 << iota
	// Sealed marks a chunk written by sealing.
	Sealed
	// Notice marks a chunk of notices, entries about the log that no filter hides.
	Notice
)

// Hash is a link of the hash chain.
type Hash [32]byte

// Header describes a chunk. It can be read without decompressing the chunk.
type Header struct {
	Flags   Flags
	StoreID [16]byte
	BootID  [16]byte
	// Sequence is the sequence number of the first entry.
	Sequence uint64
	// First and Last are the bounds of the times of the entries, in nanoseconds since boot
	// (CLOCK_BOOTTIME). Adding Offset gives CLOCK_REALTIME.
	First, Last uint64
	Offset      int64
	// Lost counts events lost between the previous chunk and this one.
	Lost         uint64
	Entries      uint32
	Events       uint32
	Compressed   uint32
	Uncompressed uint32
	// PayloadSum is the CRC32C of the payload frame.
	PayloadSum uint32
	// Hash is the hash of the last entry.
	Hash Hash
	// SequenceBefore and HashBefore, present with Start, are those of the last entry
	// before the segment.
	SequenceBefore uint64
	HashBefore     Hash
	Filter         Filter

	// size is the length of the parsed header frame, 0 if it was not parsed.
	size int
}

// Size returns the length of the header frame in bytes.
func (h *Header) Size() int {
	if h.size != 0 {
		return h.size
	}
	n := fixedSize + len(h.Filter.Bits) + sumSize
	if h.Flags&Start != 0 {
		n += startSize
	}
	return n
}

// ChunkSize returns the length of header and payload in bytes.
func (h *Header) ChunkSize() int64 { return int64(h.Size()) + int64(h.Compressed) }

// LastSequence returns the sequence number of the last entry.
func (h *Header) LastSequence() uint64 { return h.Sequence + uint64(h.Entries) - 1 }

// Put writes the header frame into dst, which must be h.Size() bytes long.
func (h *Header) Put(dst []byte) {
	n := h.Size()
	b := dst[:n]
	binary.LittleEndian.PutUint32(b, chunkMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(n-8))
	copy(b[8:], chunkName[:])
	binary.LittleEndian.PutUint16(b[12:], Version)
	binary.LittleEndian.PutUint16(b[14:], uint16(h.Flags))
	binary.LittleEndian.PutUint16(b[16:], 0)
	binary.LittleEndian.PutUint16(b[18:], uint16(len(h.Filter.Bits)))
	b[20] = byte(h.Filter.Kinds)
	b[21] = h.Filter.Hashes
	binary.LittleEndian.PutUint16(b[22:], 0)
	copy(b[24:], h.StoreID[:])
	copy(b[40:], h.BootID[:])
	binary.LittleEndian.PutUint64(b[56:], h.Sequence)
	binary.LittleEndian.PutUint64(b[64:], h.First)
	binary.LittleEndian.PutUint64(b[72:], h.Last)
	binary.LittleEndian.PutUint64(b[80:], uint64(h.Offset))
	binary.LittleEndian.PutUint64(b[88:], h.Lost)
	binary.LittleEndian.PutUint32(b[96:], h.Entries)
	binary.LittleEndian.PutUint32(b[100:], h.Events)
	binary.LittleEndian.PutUint32(b[104:], h.Compressed)
	binary.LittleEndian.PutUint32(b[108:], h.Uncompressed)
	binary.LittleEndian.PutUint32(b[112:], h.PayloadSum)
	copy(b[116:], h.Hash[:])
	at := fixedSize + copy(b[fixedSize:], h.Filter.Bits)
	if h.Flags&Start != 0 {
		binary.LittleEndian.PutUint64(b[at:], h.SequenceBefore)
		copy(b[at+8:], h.HashBefore[:])
	}
	binary.LittleEndian.PutUint32(b[n-sumSize:], crc32.Checksum(b[:n-sumSize], castagnoli))
}

// ErrShort reports that more bytes are needed. It is not corruption yet.
var ErrShort = errors.New("more bytes are needed")

// Error reports corrupt bytes.
type Error struct {
	Kind   Kind
	Detail string
}

func (e *Error) Error() string { return string(e.Kind) + ": " + e.Detail }

func corrupt(kind Kind, format string, args ...any) error {
	return &Error{Kind: kind, Detail: fmt.Sprintf(format, args...)}
}

// Kind is a kind of corruption, as listed in docs/log-format.md.
type Kind string

// The kinds of corruption.
const (
	KindTorn     Kind = "torn"
	KindHeader   Kind = "header"
	KindLimit    Kind = "limit"
	KindStore    Kind = "store"
	KindSequence Kind = "sequence"
	KindPayload  Kind = "payload"
	KindEntries  Kind = "entries"
	KindHash     Kind = "hash"
	KindIndex    Kind = "index"
)

// IncompatibleError reports intact bytes that were written by a newer version in a format
// that this version does not know.
type IncompatibleError struct {
	Version uint16
	Flags   uint16
}

func (e *IncompatibleError) Error() string {
	if e.Version != Version {
		return fmt.Sprintf("log format version %d is not known, only %d", e.Version, Version)
	}
	return fmt.Sprintf("log format uses incompatible features %#x", e.Flags)
}

// HeaderSize returns the length of the header frame at the start of b. It needs PrefixSize
// bytes and returns ErrShort for fewer.
func HeaderSize(b []byte) (int, error) {
	return frameSize(b, chunkMagic, chunkName, fixedSize+sumSize, MaxHeader)
}

// frameSize checks the first bytes of a skippable frame of this format.
func frameSize(b []byte, magic uint32, name [4]byte, low, high int) (int, error) {
	if len(b) < PrefixSize {
		return 0, ErrShort
	}
	if binary.LittleEndian.Uint32(b) != magic || [4]byte(b[8:12]) != name {
		return 0, corrupt(KindHeader, "no %s frame begins here", name[:])
	}
	n := int64(binary.LittleEndian.Uint32(b[4:])) + 8
	if n < int64(low) {
		return 0, corrupt(KindHeader, "frame of %d bytes is shorter than %d", n, low)
	}
	if n > int64(high) {
		return 0, corrupt(KindLimit, "frame of %d bytes is longer than %d", n, high)
	}
	return int(n), nil
}

// Parse parses the header frame at the start of b and ignores later bytes. The filter of h
// aliases b. Parse returns ErrShort if b is too short, *Error for corruption, and
// *IncompatibleError for the format of a newer version.
func (h *Header) Parse(b []byte) error {
	n, err := HeaderSize(b)
	if err != nil {
		return err
	}
	if len(b) < n {
		return ErrShort
	}
	b = b[:n]
	if crc32.Checksum(b[:n-sumSize], castagnoli) != binary.LittleEndian.Uint32(b[n-sumSize:]) {
		return corrupt(KindHeader, "checksum of the header is wrong")
	}
	version, incompatible := binary.LittleEndian.Uint16(b[12:]), binary.LittleEndian.Uint16(b[16:])
	if version != Version || incompatible != 0 {
		return &IncompatibleError{Version: version, Flags: incompatible}
	}
	*h = Header{
		Flags:        Flags(binary.LittleEndian.Uint16(b[14:])),
		StoreID:      [16]byte(b[24:]),
		BootID:       [16]byte(b[40:]),
		Sequence:     binary.LittleEndian.Uint64(b[56:]),
		First:        binary.LittleEndian.Uint64(b[64:]),
		Last:         binary.LittleEndian.Uint64(b[72:]),
		Offset:       int64(binary.LittleEndian.Uint64(b[80:])),
		Lost:         binary.LittleEndian.Uint64(b[88:]),
		Entries:      binary.LittleEndian.Uint32(b[96:]),
		Events:       binary.LittleEndian.Uint32(b[100:]),
		Compressed:   binary.LittleEndian.Uint32(b[104:]),
		Uncompressed: binary.LittleEndian.Uint32(b[108:]),
		PayloadSum:   binary.LittleEndian.Uint32(b[112:]),
		Hash:         Hash(b[116:]),
		size:         n,
	}
	rest, err := h.Filter.parse(b[18:22], b[fixedSize:n-sumSize])
	if err != nil {
		return err
	}
	if h.Flags&Start != 0 {
		if len(rest) < startSize {
			return corrupt(KindHeader, "no room for what came before")
		}
		h.SequenceBefore = binary.LittleEndian.Uint64(rest)
		h.HashBefore = Hash(rest[8:])
		if h.SequenceBefore >= h.Sequence {
			return corrupt(KindHeader, "sequence %d follows sequence %d", h.Sequence, h.SequenceBefore)
		}
	}
	return h.check()
}

func (h *Header) check() error {
	switch {
	case h.Uncompressed > MaxUncompressed:
		return corrupt(KindLimit, "%d uncompressed bytes, more than %d", h.Uncompressed, MaxUncompressed)
	case h.Compressed > MaxCompressed:
		return corrupt(KindLimit, "%d compressed bytes, more than %d", h.Compressed, MaxCompressed)
	case h.Entries == 0 || h.Entries > h.Uncompressed:
		return corrupt(KindLimit, "%d entries in %d bytes", h.Entries, h.Uncompressed)
	case h.Sequence == 0 || h.Sequence > MaxSequence-uint64(h.Entries):
		return corrupt(KindLimit, "sequence %d is out of range", h.Sequence)
	case h.First > h.Last:
		return corrupt(KindHeader, "first time %d is after last time %d", h.First, h.Last)
	}
	return nil
}

// FindHeader returns the first offset in b at which a chunk header may begin, or -1.
func FindHeader(b []byte) int {
	for at := 0; ; {
		i := bytes.Index(b[at:], chunkName[:])
		if i < 0 {
			return -1
		}
		at += i
		if at >= 8 && binary.LittleEndian.Uint32(b[at-8:]) == chunkMagic {
			return at - 8
		}
		at++
	}
}

// RealTime adds the real-time offset to a time since boot. Both may be arbitrary values from
// a file; a sum that overflows is saturated.
func RealTime(sinceBoot uint64, offset int64) int64 {
	if sinceBoot > math.MaxInt64 || offset > 0 && int64(sinceBoot) > math.MaxInt64-offset {
		return math.MaxInt64
	}
	return int64(sinceBoot) + offset
}

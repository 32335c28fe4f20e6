// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"encoding/binary"
	"hash/crc32"
)

const (
	indexFixed = 156
	recordSize = 32

	// FooterSize is the length of the footer of a sealed segment, which locates its index.
	FooterSize = 12
	// MaxRecords is the maximum number of records in an index.
	MaxRecords = 1 << 20

	maxIndex = indexFixed + recordSize*MaxRecords + MaxFilter + FooterSize
)

var (
	indexName  = [4]byte{'C', 'R', 'A', 'X'}
	footerName = [4]byte{'X', 'A', 'R', 'C'}
)

// Record describes the position of one chunk of a sealed segment.
type Record struct {
	Offset      int64
	Sequence    uint64
	First, Last uint64
}

// Index is the last frame of a sealed segment: a summary, the position of every chunk, and a
// filter for all chunks.
type Index struct {
	Flags        Flags
	StoreID      [16]byte
	BootID       [16]byte
	Sequence     uint64
	LastSequence uint64
	First, Last  uint64
	Offset       int64
	Events       uint64
	Lost         uint64
	Uncompressed uint64
	Hash         Hash
	Records      []Record
	Filter       Filter
}

// Append appends the index frame to dst.
func (x *Index) Append(dst []byte) []byte {
	begin := len(dst)
	n := indexFixed + recordSize*len(x.Records) + len(x.Filter.Bits) + FooterSize
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, indexMagic)
	dst = le.AppendUint32(dst, uint32(n-8))
	dst = append(dst, indexName[:]...)
	dst = le.AppendUint16(dst, Version)
	dst = le.AppendUint16(dst, uint16(x.Flags))
	dst = le.AppendUint16(dst, 0)
	dst = le.AppendUint16(dst, uint16(len(x.Filter.Bits)))
	dst = append(dst, byte(x.Filter.Kinds), x.Filter.Hashes, 0, 0)
	dst = append(dst, x.StoreID[:]...)
	dst = append(dst, x.BootID[:]...)
	for _, field := range [...]uint64{x.Sequence, x.LastSequence, x.First, x.Last, uint64(x.Offset), x.Events, x.Lost, x.Uncompressed} {
		dst = le.AppendUint64(dst, field)
	}
	dst = append(dst, x.Hash[:]...)
	dst = le.AppendUint32(dst, uint32(len(x.Records)))
	for i := range x.Records {
		r := &x.Records[i]
		dst = le.AppendUint64(dst, uint64(r.Offset))
		dst = le.AppendUint64(dst, r.Sequence)
		dst = le.AppendUint64(dst, r.First)
		dst = le.AppendUint64(dst, r.Last)
	}
	dst = append(dst, x.Filter.Bits...)
	dst = le.AppendUint32(dst, crc32.Checksum(dst[begin:], castagnoli))
	dst = le.AppendUint32(dst, uint32(n))
	return append(dst, footerName[:]...)
}

// IndexSize returns the length of the index of a file with the given last FooterSize bytes;
// ok is false if these are not the footer of a sealed segment.
func IndexSize(footer []byte) (n int, ok bool) {
	if len(footer) != FooterSize || [4]byte(footer[8:]) != footerName {
		return 0, false
	}
	size := binary.LittleEndian.Uint32(footer[4:])
	if size < indexFixed+FooterSize || size > maxIndex {
		return 0, false
	}
	return int(size), true
}

// IndexFrameSize returns the length of the index frame at the start of b, from PrefixSize
// bytes.
func IndexFrameSize(b []byte) (int, error) {
	return frameSize(b, indexMagic, indexName, indexFixed+FooterSize, maxIndex)
}

// Parse parses an index frame that fills b. Its filter aliases b.
func (x *Index) Parse(b []byte) error {
	n, err := IndexFrameSize(b)
	if err != nil {
		return corrupt(KindIndex, "%v", err)
	}
	if n != len(b) {
		return corrupt(KindIndex, "frame of %d bytes in %d", n, len(b))
	}
	le := binary.LittleEndian
	if crc32.Checksum(b[:n-FooterSize], castagnoli) != le.Uint32(b[n-FooterSize:]) {
		return corrupt(KindIndex, "checksum of the index is wrong")
	}
	if version, incompatible := le.Uint16(b[12:]), le.Uint16(b[16:]); version != Version || incompatible != 0 {
		return &IncompatibleError{Version: version, Flags: incompatible}
	}
	*x = Index{
		Flags:        Flags(le.Uint16(b[14:])),
		StoreID:      [16]byte(b[24:]),
		BootID:       [16]byte(b[40:]),
		Sequence:     le.Uint64(b[56:]),
		LastSequence: le.Uint64(b[64:]),
		First:        le.Uint64(b[72:]),
		Last:         le.Uint64(b[80:]),
		Offset:       int64(le.Uint64(b[88:])),
		Events:       le.Uint64(b[96:]),
		Lost:         le.Uint64(b[104:]),
		Uncompressed: le.Uint64(b[112:]),
		Hash:         Hash(b[120:]),
		Records:      x.Records[:0],
	}
	count := le.Uint32(b[152:])
	body := b[indexFixed : n-FooterSize]
	if count == 0 || uint64(count)*recordSize > uint64(len(body)) {
		return corrupt(KindIndex, "%d records in %d bytes", count, len(body))
	}
	if cap(x.Records) < int(count) {
		x.Records = make([]Record, 0, count)
	}
	for range count {
		x.Records = append(x.Records, Record{
			Offset:   int64(le.Uint64(body)),
			Sequence: le.Uint64(body[8:]),
			First:    le.Uint64(body[16:]),
			Last:     le.Uint64(body[24:]),
		})
		body = body[recordSize:]
	}
	if _, err := x.Filter.parse(b[18:22], body); err != nil {
		return corrupt(KindIndex, "%v", err)
	}
	return x.check()
}

// check checks that the records can be searched.
func (x *Index) check() error {
	if x.Sequence == 0 || x.LastSequence < x.Sequence || x.LastSequence > MaxSequence || x.First > x.Last {
		return corrupt(KindIndex, "sequences %d to %d, times %d to %d", x.Sequence, x.LastSequence, x.First, x.Last)
	}
	last := Record{Offset: -1, Sequence: x.Sequence - 1}
	for i, r := range x.Records {
		if r.Offset <= last.Offset || r.Offset > MaxSegment || r.Sequence <= last.Sequence || r.Sequence > x.LastSequence {
			return corrupt(KindIndex, "record %d is out of order", i)
		}
		last = r
	}
	if x.Records[0].Offset != 0 || x.Records[0].Sequence != x.Sequence {
		return corrupt(KindIndex, "the first record is not that of the first chunk")
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package frame

import (
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/zstd"
)

// Level is a compression level.
type Level int

// The levels. For entries of 1 MiB, Fast needs about 2 MiB of memory and Best 6 MiB.
const (
	Fast Level = iota
	Default
	Best
)

// Encoder encodes chunks. It is for use by one goroutine.
type Encoder struct {
	zstd *zstd.Encoder
}

// NewEncoder returns an encoder for the given level. Entries of up to largest bytes, a power
// of two, are compressed as a whole; larger ones are compressed less well.
func NewEncoder(level Level, largest int) (*Encoder, error) {
	speed := zstd.SpeedFastest
	switch level {
	case Default:
		speed = zstd.SpeedDefault
	case Best:
		speed = zstd.SpeedBetterCompression
	}
	z, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(speed),
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(largest),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(true),
		zstd.WithSingleSegment(true),
		zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("cannot create zstd encoder: %w", err)
	}
	return &Encoder{zstd: z}, nil
}

// AppendChunk appends the chunk of the given entries to dst. It sets h.Compressed,
// h.Uncompressed and h.PayloadSum; all other fields of h must be set.
func (e *Encoder) AppendChunk(dst []byte, h *Header, entries []byte) []byte {
	h.size = 0
	at, n := len(dst), h.Size()
	dst = append(dst, make([]byte, n)...)
	dst = e.zstd.EncodeAll(entries, dst)
	payload := dst[at+n:]
	h.Uncompressed = uint32(len(entries))
	h.Compressed = uint32(len(payload))
	h.PayloadSum = crc32.Checksum(payload, castagnoli)
	h.Put(dst[at : at+n])
	return dst
}

// Decoder decompresses payloads. It is for use by one goroutine and must be closed.
type Decoder struct {
	zstd *zstd.Decoder
}

// NewDecoder returns a decoder.
func NewDecoder() (*Decoder, error) {
	z, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxUncompressed),
		zstd.WithDecoderMaxWindow(2*MaxUncompressed),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("cannot create zstd decoder: %w", err)
	}
	return &Decoder{zstd: z}, nil
}

// Close releases the memory of the decoder.
func (d *Decoder) Close() { d.zstd.Close() }

// CheckPayload checks the length and CRC of a payload without decompressing it.
func CheckPayload(h *Header, payload []byte) error {
	if len(payload) != int(h.Compressed) {
		return ErrShort
	}
	if crc32.Checksum(payload, castagnoli) != h.PayloadSum {
		return corrupt(KindPayload, "checksum of the payload is wrong")
	}
	return nil
}

// Entries checks and decompresses the payload of the chunk with header h into the memory of
// dst. It never needs more than h.Uncompressed bytes.
func (d *Decoder) Entries(dst []byte, h *Header, payload []byte) ([]byte, error) {
	if err := CheckPayload(h, payload); err != nil {
		return nil, err
	}
	var z zstd.Header
	if err := z.Decode(payload); err != nil {
		return nil, corrupt(KindPayload, "%v", err)
	}
	if z.Skippable || !z.HasFCS || !z.HasCheckSum || z.DictionaryID != 0 || z.FrameContentSize != uint64(h.Uncompressed) {
		return nil, corrupt(KindPayload, "zstd frame is not of the form the header needs")
	}
	if cap(dst) < int(h.Uncompressed) {
		dst = make([]byte, 0, h.Uncompressed)
	}
	// The decoder never exceeds the capacity.
	dst, err := d.zstd.DecodeAll(payload, dst[:0:h.Uncompressed])
	if err != nil {
		return nil, corrupt(KindPayload, "%v", err)
	}
	if len(dst) != int(h.Uncompressed) {
		return nil, corrupt(KindPayload, "%d bytes, but %d according to the header", len(dst), h.Uncompressed)
	}
	return dst, nil
}

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// Offsets in the frame of a chunk header, and other values of docs/log-format.md.
const (
	headerMagic     = 0x184D2A5C
	indexMagic      = 0x184D2A5D // after the chunks of a sealed segment
	headerMark      = "CRAU"
	atLength        = 4
	atMark          = 8
	atLost          = 88
	atEvents        = 100
	atCompressed    = 104
	atUncompressed  = 108
	headerRead      = 112
	maxChunk        = 8 << 20
	afterLengthWord = 8
)

// chunk is a chunk header, with the position of the chunk.
type chunk struct {
	events, lost             uint64
	payload, compressed, end int64
	uncompressed             int
}

// errPartial is the error for a chunk that is not yet complete.
var errPartial = errors.New("the file ends inside a chunk")

// chunkAt reads the header of the chunk at an offset of a segment. The error is io.EOF at
// the end.
func chunkAt(f io.ReaderAt, size, offset int64) (c chunk, err error) {
	if offset == size {
		return c, io.EOF
	}
	if size-offset < headerRead {
		return c, errPartial
	}
	var h [headerRead]byte
	if _, err := f.ReadAt(h[:], offset); err != nil {
		return c, err
	}
	if binary.LittleEndian.Uint32(h[:]) == indexMagic {
		return c, io.EOF
	}
	word := func(at int) int64 { return int64(binary.LittleEndian.Uint32(h[at:])) }
	if word(0) != headerMagic || string(h[atMark:atMark+4]) != headerMark {
		return c, fmt.Errorf("no chunk at offset %d: %x", offset, h[:])
	}
	c.events, c.lost = uint64(word(atEvents)), binary.LittleEndian.Uint64(h[atLost:])
	c.payload = offset + afterLengthWord + word(atLength)
	c.compressed = word(atCompressed)
	c.uncompressed = int(word(atUncompressed))
	c.end = c.payload + c.compressed
	if c.end-offset > maxChunk || c.uncompressed > maxChunk {
		return c, fmt.Errorf("chunk of %d bytes at offset %d is too long", c.end-offset, offset)
	}
	if c.end > size {
		return c, errPartial
	}
	return c, nil
}

// segments returns the paths of a log's segments, in order.
func segments(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "audit-*.cborseq.zst"))
	slices.Sort(paths)
	return paths, err
}

// recorded is the sum over the chunk headers of a log.
type recorded struct {
	events, lost uint64
	chunks       int
}

// logSize returns the size of a log's segments in bytes.
func logSize(dir string) (sum int64, err error) {
	paths, err := segments(dir)
	if err != nil {
		return 0, err
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return 0, fmt.Errorf("cannot measure the log: %w", err)
		}
		sum += info.Size()
	}
	return sum, nil
}

// readLog adds up the chunk headers of a log that is no longer written.
func readLog(dir string) (r recorded, err error) {
	paths, err := segments(dir)
	if err != nil {
		return r, err
	}
	for _, path := range paths {
		if err := r.addSegment(path); err != nil {
			return r, fmt.Errorf("cannot read %s: %w", path, err)
		}
	}
	return r, nil
}

func (r *recorded) addSegment(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	for offset := int64(0); ; {
		c, err := chunkAt(f, info.Size(), offset)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		r.events += c.events
		r.lost += c.lost
		r.chunks++
		offset = c.end
	}
}

// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/frame"
)

// The sizes of a read: small for reading headers only, large for reading everything.
const (
	headerRead = 4 << 10
	scanRead   = 256 << 10
)

// Segment is an open segment file. It stays readable when the file is replaced or removed. It
// is for use by one goroutine.
type Segment struct {
	path string
	file *os.File
	// window has the last bytes read, from offset windowAt on. Its memory is reused.
	window   []byte
	windowAt int64
	read     int
}

// Open opens the segment file at path. The error is fs.ErrNotExist if there is no such file,
// or an *UnreadableError.
func Open(path string) (*Segment, error) {
	// O_NONBLOCK: a FIFO of this name must not block the reader.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		// A dangling link is in the list of segments and stays there.
		if info, statErr := os.Lstat(path); statErr == nil && info.Mode().Type() == fs.ModeSymlink {
			return nil, unreadable(path, 0, errDangling)
		}
		return nil, fmt.Errorf("cannot open segment: %w", err)
	}
	if err != nil {
		return nil, unreadable(path, 0, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, unreadable(path, 0, err)
	}
	return &Segment{path: path, file: f, read: headerRead}, nil
}

// Close closes the file.
func (s *Segment) Close() error { return s.file.Close() }

// Path returns the path under which the segment was opened.
func (s *Segment) Path() string { return s.path }

// Size returns the current length of the file.
func (s *Segment) Size() (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, unreadable(s.path, 0, err)
	}
	return info.Size(), nil
}

// Sequential sets whether payloads will be read, too, so that reads are larger.
func (s *Segment) Sequential(yes bool) {
	s.read = headerRead
	if yes {
		s.read = scanRead
	}
}

// Forget drops the data read ahead, so that the next read returns the current contents of
// the file.
func (s *Segment) Forget() { s.window = s.window[:0] }

// at returns n bytes of the file at offset, or fewer at the end of the file. They are valid
// until the next call.
func (s *Segment) at(offset int64, n int) ([]byte, error) {
	if from := offset - s.windowAt; from >= 0 && from+int64(n) <= int64(len(s.window)) {
		return s.window[from : from+int64(n)], nil
	}
	want := max(n, s.read)
	if cap(s.window) < want {
		s.window = make([]byte, 0, want)
	}
	s.windowAt = offset
	got, err := s.file.ReadAt(s.window[:want], offset)
	s.window = s.window[:got]
	if err != nil && err != io.EOF {
		s.window = s.window[:0]
		return nil, unreadable(s.path, offset, err)
	}
	return s.window[:min(n, got)], nil
}

// Probe reads up to n bytes at offset and returns the error.
func (s *Segment) Probe(offset int64, n int) error {
	if _, err := s.file.ReadAt(make([]byte, n), offset); err != nil && err != io.EOF {
		return unreadable(s.path, offset, err)
	}
	return nil
}

// Header reads the chunk header at offset. Its filter is valid until the next call. Errors:
// io.EOF at the end of the file or of its chunks; *CorruptError of kind torn if the file ends
// inside the header; other *CorruptError; *IncompatibleError.
func (s *Segment) Header(offset int64, h *frame.Header) error {
	b, err := s.at(offset, frame.PrefixSize)
	if err != nil {
		return err
	}
	if len(b) == 0 {
		return io.EOF
	}
	n, err := frame.HeaderSize(b)
	if err != nil {
		if s.isIndex(offset, b) {
			return io.EOF
		}
		return s.wrap(err, offset)
	}
	if b, err = s.at(offset, n); err != nil {
		return err
	}
	if err := h.Parse(b); err != nil {
		return s.wrap(err, offset)
	}
	return nil
}

// isIndex reports whether the file ends with an index frame at offset.
func (s *Segment) isIndex(offset int64, prefix []byte) bool {
	n, err := frame.IndexFrameSize(prefix)
	if err != nil {
		return false
	}
	size, err := s.Size()
	return err == nil && offset+int64(n) == size
}

// Payload reads the payload of the chunk at offset with header h. It is valid until the next
// call of a method of s.
func (s *Segment) Payload(offset int64, h *frame.Header) ([]byte, error) {
	b, err := s.at(offset+int64(h.Size()), int(h.Compressed))
	if err != nil {
		return nil, err
	}
	if err := frame.CheckPayload(h, b); err != nil {
		return nil, s.wrap(err, offset)
	}
	return b, nil
}

// Raw reads the payload of the chunk at offset with header h into the memory of dst, without
// checking it.
func (s *Segment) Raw(dst []byte, offset int64, h *frame.Header) ([]byte, error) {
	b, err := s.at(offset+int64(h.Size()), int(h.Compressed))
	if err != nil {
		return nil, err
	}
	return append(dst[:0], b...), nil
}

// Place adds the segment and the offset of the chunk to an error of package frame.
func (s *Segment) Place(err error, offset int64) error { return s.wrap(err, offset) }

// Entries decompresses the entries of the chunk at offset with header h into the memory of
// dst. Afterwards h.Filter is invalid.
func (s *Segment) Entries(dst []byte, d *frame.Decoder, offset int64, h *frame.Header) ([]byte, error) {
	b, err := s.at(offset+int64(h.Size()), int(h.Compressed))
	if err != nil {
		return nil, err
	}
	dst, err = d.Entries(dst, h, b)
	if err != nil {
		return nil, s.wrap(err, offset)
	}
	return dst, nil
}

// Index reads the index of a sealed segment. ok is false if the segment is not sealed.
func (s *Segment) Index() (x *frame.Index, ok bool, err error) {
	size, err := s.Size()
	if err != nil || size < frame.FooterSize {
		return nil, false, err
	}
	b, err := s.at(size-frame.FooterSize, frame.FooterSize)
	if err != nil {
		return nil, false, err
	}
	n, ok := frame.IndexSize(b)
	if !ok || int64(n) > size {
		return nil, false, nil
	}
	b = make([]byte, n)
	if _, err := s.file.ReadAt(b, size-int64(n)); err != nil {
		return nil, false, unreadable(s.path, size-int64(n), err)
	}
	x = new(frame.Index)
	if err := x.Parse(b); err != nil {
		return nil, false, s.wrap(err, size-int64(n))
	}
	if last := x.Records[len(x.Records)-1]; last.Offset >= size-int64(n) {
		return nil, false, s.corrupt(size-int64(n), frame.KindIndex, "the last record points past the chunks")
	}
	return x, true, nil
}

// Trust reports whether a chunk found by a search is trusted.
type Trust func(h *frame.Header) bool

// Search returns the offset of the first chunk at or after offset whose header is intact and
// trusted; io.EOF if there is none. It skips holes, so the cost of a sparse file depends only
// on its data.
func (s *Segment) Search(ctx context.Context, offset int64, trust Trust) (int64, error) {
	var h frame.Header
	buffer := make([]byte, scanRead)
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		data, err := s.file.Seek(offset, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			return 0, io.EOF
		case err == nil:
			offset = max(offset, data)
		}
		n, err := s.file.ReadAt(buffer, offset)
		if err != nil && err != io.EOF {
			return 0, unreadable(s.path, offset, err)
		}
		atEnd := err == io.EOF
		found := buffer[:n]
		for {
			at := frame.FindHeader(found)
			if at < 0 {
				break
			}
			here := offset + int64(n-len(found)+at)
			err := s.Header(here, &h)
			if err == nil && trust(&h) {
				return here, nil
			}
			if err != nil && !isPlaced(err) {
				return 0, err
			}
			found = found[at+1:]
		}
		if atEnd || n < frame.PrefixSize {
			return 0, io.EOF
		}
		// A header may start in the last bytes.
		offset += int64(n - frame.PrefixSize + 1)
	}
}

// isPlaced reports whether err is about the bytes at an offset and not about reading them.
func isPlaced(err error) bool {
	_, corrupt := AsCorrupt(err)
	var incompatible *IncompatibleError
	return err == io.EOF || corrupt || errors.As(err, &incompatible)
}

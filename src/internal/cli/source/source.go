// SPDX-License-Identifier: Apache-2.0

// Package source reads logs for crauctl: files, directories, and the log that the broker
// serves.
package source

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/klauspost/compress/zstd"

	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
)

// Source returns the groups of a log in order.
type Source interface {
	// Next decodes the next group into g. raw are its bytes; boot is the boot time, in
	// nanoseconds since the Unix epoch, to which its times are relative. Both and g are
	// valid until the next call. The error is io.EOF at the end; a *GapError for an
	// unreadable part, after which the next call continues; another error if nothing
	// more can be read.
	Next(g *event.Group) (raw []byte, boot int64, err error)
	Close() error
}

// GapError reports a part of a log that cannot be shown.
type GapError struct {
	err error
	// Harmless reports that no entries are missing that should have been kept.
	Harmless bool
	// Missing are the missing entries, as far as known.
	Missing event.Missing
}

func (e *GapError) Error() string { return e.err.Error() }

func (e *GapError) Unwrap() error { return e.err }

// BootTime determines the boot time to which the times of a log are relative.
type BootTime struct {
	// Forced is the boot time of the command line, in nanoseconds since the Unix
	// epoch, nil without one.
	Forced *int64
	// Machine returns the boot time of this machine.
	Machine func() (int64, error)
}

// known returns Forced if it is set, else the boot time that the log states.
func (b *BootTime) known(stated int64) int64 {
	if b.Forced != nil {
		return *b.Forced
	}
	return stated
}

// machine returns Forced or the boot time of this machine, for logs that state none.
func (b *BootTime) machine() (int64, error) {
	if b.Forced != nil {
		return *b.Forced, nil
	}
	return b.Machine()
}

// openFile opens a log file of any format: a sequence of entries, plain or compressed
// with zstd, or segments of a store, single or concatenated.
func openFile(ctx context.Context, path string, boot BootTime) (fileSource, error) {
	file, err := open(ctx, path)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	stop := interruptible(ctx, file)
	begin := make([]byte, frame.PrefixSize)
	n, err := io.ReadFull(file, begin)
	if err != nil && err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
		stop()
		file.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, fmt.Errorf("cannot read log %s: %w", path, err)
	}
	begin = begin[:n]
	// A file that is not regular, such as standard input, can be read only once.
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() || !isChunk(begin) {
		s, err := streamFrom(ctx, file, begin, path, boot)
		if err != nil {
			stop()
			return nil, err
		}
		s.stop = stop
		return s, nil
	}
	stop()
	reader, err := logstore.OpenFile(ctx, path, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot open log: %w", err)
	}
	return &segmentFile{storeSource: storeSource{ctx: ctx, reader: reader, ahead: logstore.NewAhead(reader), boot: boot}, file: file, path: path}, nil
}

func isZstd(b []byte) bool { return bytes.HasPrefix(b, []byte{0x28, 0xb5, 0x2f, 0xfd}) }

// isSkippable reports whether b begins with a skippable frame (RFC 8878,
// section 3.1.2).
func isSkippable(b []byte) bool {
	return len(b) >= 4 && b[0]&0xf0 == 0x50 && bytes.Equal(b[1:4], []byte{0x2a, 0x4d, 0x18})
}

// isChunk reports whether b begins with the header of a chunk, as segments do.
func isChunk(b []byte) bool {
	_, err := frame.HeaderSize(b)
	return err == nil
}

// maxWindow bounds the memory that a compressed file can make zstd use; files made with
// zstd --long need this much.
const maxWindow = 128 << 20

// stream is a file of entries, plain or compressed.
type stream struct {
	ctx  context.Context // of the query
	file *os.File
	// stop ends the connection between ctx and file.
	stop     func() bool
	decoder  *zstd.Decoder
	sequence *event.Sequence
	path     string
	boot     BootTime
	origin   int64 // offset of the stream in the file
	at       int64 // the current boot time
	known    bool
	done     bool
}

// streamFrom reads file, from which begin has already been read.
func streamFrom(ctx context.Context, file *os.File, begin []byte, path string, boot BootTime) (*stream, error) {
	s := &stream{ctx: ctx, file: file, stop: func() bool { return true }, path: path, boot: boot}
	r := io.MultiReader(bytes.NewReader(begin), file)
	if isZstd(begin) || isSkippable(begin) {
		decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			file.Close()
			return nil, fmt.Errorf("cannot decompress log %s: %w", path, err)
		}
		s.decoder = decoder
		r = decoder
	}
	s.sequence = event.NewSequence(r)
	return s, nil
}

func (s *stream) Next(g *event.Group) ([]byte, int64, error) {
	if s.done {
		return nil, 0, io.EOF
	}
	raw, err := s.sequence.Next(g)
	if err != nil {
		s.done = true
		switch {
		case err == io.EOF:
			return nil, 0, io.EOF
		case s.ctx.Err() != nil:
			return nil, 0, s.ctx.Err()
		}
		return nil, 0, s.damage(err)
	}
	if seconds, ok := g.BootTime(); ok {
		s.at, s.known = s.boot.known(seconds*int64(time.Second)), true
	}
	if !s.known {
		if s.at, err = s.boot.machine(); err != nil {
			s.done = true
			return nil, 0, err
		}
		s.known = true
	}
	return raw, s.at, nil
}

// damage adds the offset in the file at which reading ended.
func (s *stream) damage(err error) error {
	offset := s.sequence.Offset()
	var syntax *event.SyntaxError
	torn := errors.As(err, &syntax) || errors.Is(err, event.ErrTruncated)
	if s.decoder == nil {
		return fmt.Errorf("cannot read log %s at byte %d: %w", s.path, s.origin+offset, err)
	}
	where := fmt.Sprintf("at byte %d of its decompressed entries", offset)
	if s.origin > 0 {
		where += fmt.Sprintf(" from byte %d on", s.origin)
	}
	switch {
	case torn:
		return fmt.Errorf("cannot read log %s %s: %w", s.path, where, err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = errors.New("the file ends inside a compressed frame")
	}
	return fmt.Errorf("cannot decompress log %s %s: %w", s.path, where, err)
}

func (s *stream) Close() error {
	s.stop()
	if s.decoder != nil {
		s.decoder.Close()
	}
	return s.file.Close()
}

// storeSource reads a store, or one segment of it.
type storeSource struct {
	ctx    context.Context // of the query
	reader *logstore.Reader
	// ahead reads in advance; nil: disabled.
	ahead   *logstore.Ahead
	boot    BootTime
	chunk   *logstore.Chunk
	entries []byte // remaining entries of the chunk
	// chunkEnd is the offset after the chunk.
	chunkEnd int64
	// sequence is the number of the last entry returned.
	sequence uint64
}

func (s *storeSource) Next(g *event.Group) ([]byte, int64, error) {
	for len(s.entries) == 0 {
		chunk, err := s.nextChunk()
		if err != nil {
			if s.ctx.Err() != nil {
				return nil, 0, s.ctx.Err()
			}
			return nil, 0, Gap(err)
		}
		s.chunk, s.entries, s.sequence = chunk, chunk.Entries, chunk.First-1
		s.chunkEnd = chunk.Offset + chunk.Header.ChunkSize()
	}
	n, err := event.Decode(s.entries, g)
	if err != nil {
		// The chunk's checksum is valid: the writer made a mistake.
		s.entries = nil
		return nil, 0, &GapError{err: fmt.Errorf("cannot decode an entry of segment %s, chunk at offset %d: %w",
			s.chunk.Segment, s.chunk.Offset, err)}
	}
	raw := s.entries[:n]
	s.entries = s.entries[n:]
	s.sequence++
	return raw, s.boot.known(s.chunk.Header.Offset), nil
}

// Gap converts an error after which reading can continue to a *GapError.
func Gap(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	lack, ok := entry.LackOf(err)
	if !ok {
		return fmt.Errorf("cannot read the log: %w", err)
	}
	gap := &GapError{err: err, Harmless: lack.Harmless, Missing: lack.Missing()}
	switch {
	case errors.As(err, new(*logstore.CorruptError)) && !gap.Harmless:
		gap.err = fmt.Errorf("cannot read part of the log: %w", err)
	case lack.Reason == event.Unreadable:
		// Hide the permission error: a single unreadable file is not a denied log.
		gap.err = errors.New(err.Error())
	}
	return gap
}

func (s *storeSource) nextChunk() (*logstore.Chunk, error) {
	if s.ahead != nil {
		return s.ahead.Next(s.ctx)
	}
	return s.reader.Next(s.ctx)
}

// stop ends reading ahead, so that the reader can be positioned.
func (s *storeSource) stop() {
	if s.ahead != nil {
		s.ahead.Stop()
		s.ahead = nil
	}
	s.entries = nil
}

func (s *storeSource) Close() error {
	s.stop()
	return s.reader.Close()
}

// Ahead makes a source read in advance in another goroutine, if it supports that. Use it
// when reading to the end: data that were read in advance are lost when the source is
// positioned.
func Ahead(s Source) {
	if p, ok := s.(*part); ok {
		s = p.Store
	}
	if s, ok := s.(*directoryStore); ok && s.ahead == nil {
		s.ahead = logstore.NewAhead(s.reader)
	}
}

// segmentFile reads a file that begins with a segment. Where the file continues in
// another format, it is read as a zstd stream.
type segmentFile struct {
	storeSource
	file   *os.File
	path   string
	stream *stream
}

func (s *segmentFile) Next(g *event.Group) ([]byte, int64, error) {
	if s.stream != nil {
		return s.stream.Next(g)
	}
	raw, boot, err := s.storeSource.Next(g)
	var corrupt *logstore.CorruptError
	var gap *GapError
	switch {
	case err == io.EOF:
		return s.resume(s.chunkEnd, g, io.EOF)
	case errors.As(err, &corrupt) && corrupt.Kind == frame.KindStore:
		return s.resume(corrupt.Offset, g, err)
	case errors.As(err, &corrupt):
		if begin := s.begin(corrupt.Offset); isZstd(begin) || (isSkippable(begin) && !isChunk(begin)) {
			return s.resume(corrupt.Offset, g, err)
		}
	}
	if errors.As(err, &gap) {
		gap.Harmless = false // a single file is complete or damaged
	}
	return raw, boot, err
}

// begin returns the first bytes of the frame at offset.
func (s *segmentFile) begin(offset int64) []byte {
	b := make([]byte, frame.PrefixSize)
	n, _ := s.file.ReadAt(b, offset)
	return b[:n]
}

// resume reads the rest of the file as a stream. It returns the error otherwise if no
// zstd frame begins there.
func (s *segmentFile) resume(offset int64, g *event.Group, otherwise error) ([]byte, int64, error) {
	begin := s.begin(offset)
	for isSkippable(begin) && !isChunk(begin) && len(begin) >= 8 {
		offset += 8 + int64(binary.LittleEndian.Uint32(begin[4:]))
		begin = s.begin(offset)
	}
	if !isZstd(begin) && !isChunk(begin) {
		if len(begin) == 0 {
			otherwise = io.EOF
		}
		return nil, 0, otherwise
	}
	if _, err := s.file.Seek(offset+int64(len(begin)), io.SeekStart); err != nil {
		return nil, 0, fmt.Errorf("cannot read log %s: %w", s.path, err)
	}
	stream, err := streamFrom(s.ctx, s.file, begin, s.path, s.boot)
	if err != nil {
		return nil, 0, err
	}
	stream.origin = offset
	s.stop()
	s.stream = stream
	return stream.Next(g)
}

func (s *segmentFile) Close() error {
	err := s.storeSource.Close()
	if s.stream != nil {
		return errors.Join(err, s.stream.Close())
	}
	return errors.Join(err, s.file.Close())
}

// OpenFiles opens log files to read one after another. The source is Sized.
func OpenFiles(ctx context.Context, paths []string, boot BootTime) (Source, error) {
	c := concatenation{ctx: ctx}
	known := true
	for _, path := range paths {
		s, err := openFile(ctx, path, boot)
		if err != nil {
			return nil, errors.Join(err, c.Close())
		}
		size := int64(0)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		} else {
			known = false
		}
		c.files = append(c.files, logFile{s, size})
		c.total += size
	}
	if !known {
		c.total = 0
	}
	return &c, nil
}

// Sized is a source that knows its progress.
type Sized interface {
	// Progress returns the bytes that were read and the total, 0 if unknown.
	Progress() (done, total int64)
}

// fileSource reads a file.
type fileSource interface {
	Source
	// offset returns the number of bytes that were read.
	offset() int64
}

func (s *stream) offset() int64 {
	at, err := s.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0 // not a regular file
	}
	return at
}

func (s *segmentFile) offset() int64 {
	if s.stream != nil {
		return s.stream.offset()
	}
	return s.chunkEnd
}

// concatenation reads files one after another. A file that cannot be read to its end is
// a gap.
type concatenation struct {
	ctx         context.Context // of the query
	files       []logFile
	done, total int64 // bytes
}

type logFile struct {
	fileSource

	size int64
}

func (c *concatenation) Progress() (done, total int64) {
	done = c.done
	if len(c.files) > 0 {
		done += c.files[0].offset()
	}
	return done, c.total
}

func (c *concatenation) Next(g *event.Group) ([]byte, int64, error) {
	for len(c.files) > 0 {
		raw, boot, err := c.files[0].Next(g)
		var gap *GapError
		if err == nil || errors.As(err, &gap) {
			return raw, boot, err
		}
		if c.ctx.Err() != nil {
			return nil, 0, c.ctx.Err()
		}
		closeErr := c.files[0].Close()
		c.done += c.files[0].size
		c.files[0] = logFile{} // frees its memory, with the data that was read in advance
		c.files = c.files[1:]
		if err != io.EOF {
			return nil, 0, &GapError{err: err}
		}
		if closeErr != nil {
			return nil, 0, &GapError{err: closeErr}
		}
	}
	return nil, 0, io.EOF
}

func (c *concatenation) Close() error {
	var errs []error
	for _, s := range c.files {
		errs = append(errs, s.Close())
	}
	c.files = nil
	return errors.Join(errs...)
}

// SPDX-License-Identifier: Apache-2.0

package varlinkservice

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// frames splits the data of a peer into frames: JSON texts that end with NUL (varlink.org,
// "Message Format"). It holds one frame and the data received with it.
type frames struct {
	from io.Reader
	// size limits the bytes of a frame without its NUL, depth its nesting.
	size, depth int

	buffer  []byte // received and not yet returned
	scanned int    // number of bytes of buffer known to contain no NUL
	next    int    // offset in buffer of the next frame
}

// firstRead and maxRead limit the bytes read from a peer at a time.
const (
	firstRead = 512
	maxRead   = 4096
)

// limitError reports that a peer exceeded a limit.
type limitError struct {
	limit   string
	maximum int
}

func (e *limitError) Error() string {
	return fmt.Sprintf("%s: more than %d", e.limit, e.maximum)
}

// partial reports whether a part of a frame was received.
func (f *frames) partial() bool { return len(f.buffer) > f.next }

// read returns the next frame, which is valid until the next call. When the peer sends no
// more, the error is io.EOF between frames and io.ErrUnexpectedEOF inside one. An exceeded
// limit is a *limitError. After another error of the reader, such as a deadline, read may
// be called again.
func (f *frames) read() ([]byte, error) {
	for {
		f.compact()
		if i := bytes.IndexByte(f.buffer[f.scanned:], 0); i >= 0 {
			frame := f.buffer[:f.scanned+i]
			f.next, f.scanned = len(frame)+1, 0
			return frame, f.check(frame)
		}
		f.scanned = len(f.buffer)
		if f.scanned > f.size {
			return nil, &limitError{"bytes of a call", f.size}
		}
		if err := f.fill(); err != nil {
			return nil, err
		}
	}
}

// compact drops the frame returned last.
func (f *frames) compact() {
	if f.next == 0 {
		return
	}
	rest := copy(f.buffer, f.buffer[f.next:])
	f.buffer, f.next = f.buffer[:rest], 0
	// Free the memory of a large frame.
	if rest == 0 && cap(f.buffer) > maxRead {
		f.buffer = nil
	}
}

// fill calls Read once.
func (f *frames) fill() error {
	space := firstRead
	if len(f.buffer) > 0 {
		space = maxRead
	}
	// One byte more than the limit shows that a frame is too long.
	space = min(space, f.size+1-len(f.buffer))
	if free := cap(f.buffer) - len(f.buffer); free < space {
		grown := make([]byte, len(f.buffer), min(2*cap(f.buffer)+space, f.size+1))
		copy(grown, f.buffer)
		f.buffer = grown
	}
	n, err := f.from.Read(f.buffer[len(f.buffer):cap(f.buffer)])
	f.buffer = f.buffer[:len(f.buffer)+n]
	if n > 0 {
		return nil // the next Read returns the error again
	}
	if err == io.EOF && f.partial() {
		return io.ErrUnexpectedEOF
	}
	return err
}

// check validates a frame before it is decoded.
func (f *frames) check(frame []byte) error {
	if len(frame) > f.size {
		return &limitError{"bytes of a call", f.size}
	}
	if len(frame) == 0 {
		return errEmpty
	}
	if nesting(frame) > f.depth {
		return &limitError{"levels of a call", f.depth}
	}
	return nil
}

var errEmpty = errors.New("an empty frame")

// nesting returns the nesting depth of the arrays and objects of a JSON text. For other
// input it returns at least the depth that a JSON decoder reaches before it fails.
func nesting(text []byte) int {
	depth, deepest := 0, 0
	inString := false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			depth--
		}
	}
	return deepest
}

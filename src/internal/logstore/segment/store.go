// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore/frame"
)

// IdentityName is the name of the file with the id of a store.
const IdentityName = ".store"

// identityLength is the length of its content: hexadecimal digits and a newline.
const identityLength = 2*16 + 1

// Identity returns the id in the file of dir. ok is false if the file does not exist, cannot
// be read, or has other contents.
func Identity(dir string) (id [16]byte, ok bool) {
	f, err := os.OpenFile(filepath.Join(dir, IdentityName), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return id, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, identityLength+1))
	digits, whole := strings.CutSuffix(string(text), "\n")
	if err != nil || !whole || len(text) != identityLength {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(digits)); err != nil {
		return [16]byte{}, false
	}
	return id, id != [16]byte{}
}

// IdentityText returns the contents of the file with the id of a store.
func IdentityText(id [16]byte) []byte { return []byte(hex.EncodeToString(id[:]) + "\n") }

// StoreID returns the id of the store in dir with the listed segments: from the identity file
// or else, for a copy without that file, from MajorityID.
func StoreID(dir string, list []uint64) (id [16]byte, known bool, err error) {
	if id, ok := Identity(dir); ok {
		return id, true, nil
	}
	return MajorityID(dir, list)
}

// MajorityID returns the id of most of the listed segments, so that one additional file
// cannot change the identity of a log. In a tie, the id of the oldest segment wins.
// Unreadable segments are skipped; if no other segment has an id, the error is that of the
// newest unreadable one.
func MajorityID(dir string, list []uint64) (id [16]byte, known bool, err error) {
	votes := map[[16]byte]int{}
	var candidates [][16]byte // in order of their oldest segment
	var unread error
	for _, first := range list {
		h, err := firstHeader(filepath.Join(dir, Name(first)))
		var incompatible *IncompatibleError
		switch {
		case errors.As(err, &incompatible):
			return id, false, err
		case err != nil:
			if !isPlaced(err) {
				unread = err
			}
		case h.Sequence == first:
			if votes[h.StoreID] == 0 {
				candidates = append(candidates, h.StoreID)
			}
			votes[h.StoreID]++
		}
	}
	for _, c := range candidates {
		if votes[c] > votes[id] {
			id, known = c, true
		}
	}
	if known {
		return id, true, nil
	}
	return id, false, unread
}

// ForeignError reports that a file with the name of a segment does not belong to the store.
// Readers skip it; no entry of the store is missing because of it.
type ForeignError struct {
	Name   string
	Detail string
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("%s is not a segment of this log: %s", e.Name, e.Detail)
}

// Check returns an error unless the file with the name of the segment may belong to the
// store: a *ForeignError, fs.ErrNotExist, *UnreadableError or *IncompatibleError. proven is
// false if its start is damaged.
func Check(dir string, first uint64, store [16]byte) (proven bool, err error) {
	name := Name(first)
	s, err := Open(filepath.Join(dir, name))
	if err != nil {
		return false, err
	}
	defer s.Close()
	size, err := s.Size()
	if err != nil {
		return false, err
	}
	if size > frame.MaxSegment {
		return false, &ForeignError{name, fmt.Sprintf("it has %d bytes", size)}
	}
	var h frame.Header
	err = s.Header(0, &h)
	switch {
	case err == nil:
		err = Belongs(&h, first, store)
		return err == nil, err
	case isPlaced(err):
		var incompatible *IncompatibleError
		if errors.As(err, &incompatible) {
			return false, err
		}
		return false, nil
	}
	return false, err
}

// Belongs returns a *ForeignError unless, by its first header, a file with the name of the
// segment may belong to the store (zero: any store).
func Belongs(h *frame.Header, first uint64, store [16]byte) error {
	switch {
	case store != [16]byte{} && h.StoreID != store:
		return &ForeignError{Name(first), "it belongs to another log"}
	case h.Flags&frame.Start == 0 || h.Sequence != first:
		return &ForeignError{Name(first), fmt.Sprintf("it begins with entry %d, so it is a copy of another segment", h.Sequence)}
	}
	return nil
}

// firstHeader reads the first header of the segment at path.
func firstHeader(path string) (h frame.Header, err error) {
	s, err := Open(path)
	if err != nil {
		return h, err
	}
	defer s.Close()
	err = s.Header(0, &h)
	return h, err
}

// IsAt reports whether path names the opened file.
func (s *Segment) IsAt(path string) (bool, error) {
	in, err := s.file.Stat()
	if err != nil {
		return false, unreadable(s.path, 0, err)
	}
	at, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(in, at), err
}

// SPDX-License-Identifier: Apache-2.0

// Package ldcache reads the dynamic loader's cache of shared libraries, which maps
// sonames to files. The format is defined by the GNU C library
// (sysdeps/generic/dl-cache.h): a header, a table of entries with offsets of strings,
// and the strings.
package ldcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// Path is the path of the loader's cache.
const Path = "/etc/ld.so.cache"

// Limits on what is read. The cache of a large workstation has a few thousand entries
// in some 200 KiB.
const (
	maxSize    = 16 << 20
	maxEntries = 1 << 17
	maxString  = 4096
)

const (
	magic      = "glibc-ld.so.cache1.1"
	headerSize = 48
	entrySize  = 24

	// The old format may come first: its magic, and its header and entry sizes.
	oldMagic     = "ld.so-1.7.0\x00"
	oldHeader    = 16
	oldEntrySize = 12
)

// ErrFormat reports that a file is not a valid loader cache.
var ErrFormat = errors.New("the format of the loader cache is not supported")

// Entry is a library in the cache.
type Entry struct {
	// Soname is the name that programs load, Path the file.
	Soname, Path string
}

// Read reads the cache at path.
func Read(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read loader cache: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read loader cache: %w", err)
	}
	entries, err := Parse(b)
	if err != nil {
		return nil, fmt.Errorf("cannot read loader cache %s: %w", path, err)
	}
	return entries, nil
}

// Parse parses the entries of a cache, for all machines. The error is or wraps
// ErrFormat.
func Parse(b []byte) ([]Entry, error) {
	if len(b) > maxSize {
		return nil, fmt.Errorf("%w: more than %d bytes", ErrFormat, maxSize)
	}
	if rest, ok := bytes.CutPrefix(b, []byte(oldMagic)); ok && len(rest) >= oldHeader-len(oldMagic) {
		n := uint64(binary.NativeEndian.Uint32(rest))
		skip := (oldHeader + n*oldEntrySize + 7) &^ 7
		if skip > uint64(len(b)) {
			return nil, fmt.Errorf("%w: table beyond the end", ErrFormat)
		}
		b = b[skip:]
	}
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) {
		return nil, ErrFormat
	}
	n := binary.NativeEndian.Uint32(b[len(magic):])
	if n > maxEntries || uint64(n)*entrySize > uint64(len(b)-headerSize) {
		return nil, fmt.Errorf("%w: table of %d entries", ErrFormat, n)
	}
	entries := make([]Entry, 0, n)
	for i := range int(n) {
		e := b[headerSize+i*entrySize:]
		soname, ok1 := text(b, binary.NativeEndian.Uint32(e[4:]))
		path, ok2 := text(b, binary.NativeEndian.Uint32(e[8:]))
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("%w: entry %d names no string", ErrFormat, i)
		}
		entries = append(entries, Entry{soname, path})
	}
	return entries, nil
}

// text returns the NUL-terminated string at an offset in the cache.
func text(b []byte, offset uint32) (string, bool) {
	if uint64(offset) >= uint64(len(b)) {
		return "", false
	}
	b = b[offset:min(uint64(len(b)), uint64(offset)+maxString)]
	n := bytes.IndexByte(b, 0)
	if n < 0 {
		return "", false
	}
	return string(b[:n]), true
}

// Find returns the paths of the entries whose soname is wanted, without duplicates, in
// the order of the cache.
func Find(entries []Entry, wanted func(soname string) bool) []string {
	var paths []string
	for _, e := range entries {
		if wanted(e.Soname) && !slices.Contains(paths, e.Path) {
			paths = append(paths, e.Path)
		}
	}
	return paths
}

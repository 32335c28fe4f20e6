// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
)

const (
	prefix = "audit-"
	suffix = ".cborseq.zst"
	digits = 16
)

// Name returns the file name of the segment with the given first sequence.
func Name(first uint64) string { return fmt.Sprintf("%s%016x%s", prefix, first, suffix) }

// ParseName returns the first sequence in a file name; ok is false if the name is not that of
// a segment.
func ParseName(name string) (first uint64, ok bool) {
	hex, ok := strings.CutPrefix(name, prefix)
	if !ok {
		return 0, false
	}
	hex, ok = strings.CutSuffix(hex, suffix)
	if !ok || len(hex) != digits || strings.ToLower(hex) != hex {
		return 0, false
	}
	first, err := strconv.ParseUint(hex, 16, 63)
	return first, err == nil && first > 0
}

// List returns the first sequences of the segments in a directory, oldest
// first.
func List(dir string) ([]uint64, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open log directory: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list log directory: %w", &fs.PathError{Op: "readdir", Path: dir, Err: err})
	}
	list := make([]uint64, 0, len(names))
	for _, name := range names {
		if first, ok := ParseName(name); ok {
			list = append(list, first)
		}
	}
	slices.Sort(list)
	return list, nil
}

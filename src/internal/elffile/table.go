// SPDX-License-Identifier: Apache-2.0

package elffile

import "fmt"

// Entries calls f for each entry of a table, which it reads in parts: f must not keep b.
func (e *File) Entries(name string, t *Section, size uint64, f func(index uint32, b []byte) error) error {
	if t.Size > MaxTable {
		return &FormatError{name, fmt.Sprintf("%d bytes, more than %d", t.Size, MaxTable)}
	}
	if t.Entry != size {
		return &FormatError{name, fmt.Sprintf("entries have %d bytes, not %d", t.Entry, size)}
	}
	if t.Size == 0 {
		return nil
	}
	if err := e.checkRange(name, t.Off, t.Size); err != nil {
		return err
	}
	step := size * (64 << 10 / size)
	part := make([]byte, min(step, t.Size))
	index := uint32(0)
	for at := uint64(0); at < t.Size; at += step {
		b := part[:min(step, t.Size-at)]
		if err := e.readAt(b, name, t.Off+at); err != nil {
			return err
		}
		for ; uint64(len(b)) >= size; b = b[size:] {
			if err := f(index, b[:size]); err != nil {
				return err
			}
			index++
		}
	}
	return nil
}

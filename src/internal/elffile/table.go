// SPDX-License-Identifier: Apache-2.0

package elffile

import "fmt"

// Entries calls f for each entry of a table. It reads the table in parts.
func (e *File) Entries(what string, t *Section, size uint64, f func(index uint32, b []byte) error) error {
	if t.Size > MaxTable {
		return &FormatError{what, fmt.Sprintf("%d bytes, more than %d", t.Size, MaxTable)}
	}
	if t.Entry != size {
		return &FormatError{what, fmt.Sprintf("entries have %d bytes, not %d", t.Entry, size)}
	}
	step := size * (64 << 10 / size)
	index := uint32(0)
	for at := uint64(0); at < t.Size; at += step {
		b, err := e.Read(what, t.Off+at, min(step, t.Size-at))
		if err != nil {
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

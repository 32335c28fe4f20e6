// SPDX-License-Identifier: Apache-2.0

package image

import "bytes"

const (
	// maxSearched bounds the part of a section that Contains reads, in bytes.
	maxSearched = 128 << 20
	// searchedAtOnce is how many bytes are in memory.
	searchedAtOnce = 1 << 20
)

// HasSection reports whether there is a section called name.
func (m *Image) HasSection(name string) bool { return m.file.Section(name) != nil }

// Contains reports whether the section called name contains text, which is shorter than a
// page.
func (m *Image) Contains(name, text string) bool {
	s := m.file.Section(name)
	if s == nil {
		return false
	}
	size := min(s.Size, maxSearched)
	for at := uint64(0); at < size; at += searchedAtOnce {
		b, err := m.file.Read(name, s.Off+at, min(searchedAtOnce+uint64(len(text)), size-at))
		if err != nil {
			return false
		}
		if bytes.Contains(b, []byte(text)) {
			return true
		}
	}
	return false
}

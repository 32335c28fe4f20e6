// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"io"
)

// pages caches parts of a library's file, so that a process that passes many different
// addresses of literals does not cost the agent a system call for each. It must be used
// by one goroutine only.
type pages struct {
	file io.ReaderAt
	// changed, if not nil, reports whether the file has changed since its probes were
	// read: then it does not contain the strings of programs that loaded it before.
	changed func() bool
	// kept holds pages by number; the last page of the file may be shorter than the
	// others.
	kept map[int64][]byte
}

const (
	pageSize = 4096
	// maxPages covers the literals of the largest libraries, 1.5 MiB.
	maxPages = 384
)

var errFileChanged = errors.New("the file has changed")

// ReadAt implements io.ReaderAt.
func (p *pages) ReadAt(b []byte, offset int64) (n int, err error) {
	for n < len(b) {
		page, err := p.page((offset + int64(n)) / pageSize)
		if err != nil {
			return n, err
		}
		within := int((offset + int64(n)) % pageSize)
		if within >= len(page) {
			return n, io.EOF
		}
		n += copy(b[n:], page[within:])
	}
	return n, nil
}

// page returns a page, empty after the end of the file.
func (p *pages) page(number int64) ([]byte, error) {
	if page, ok := p.kept[number]; ok {
		return page, nil
	}
	page := make([]byte, pageSize)
	n, err := p.read(page, number)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if p.kept == nil || len(p.kept) >= maxPages {
		p.kept = map[int64][]byte{}
	}
	p.kept[number] = page[:n]
	return p.kept[number], nil
}

// read reads a page from the file.
func (p *pages) read(page []byte, number int64) (int, error) {
	n, err := p.file.ReadAt(page, number*pageSize)
	if p.changed != nil && p.changed() {
		return 0, errFileChanged
	}
	return n, err
}

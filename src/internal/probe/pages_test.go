// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

// counting counts the reads of a file.
type counting struct {
	io.ReaderAt
	reads int
}

func (c *counting) ReadAt(b []byte, offset int64) (int, error) {
	c.reads++
	return c.ReaderAt.ReadAt(b, offset)
}

func TestPagesReadTheContentOfTheFile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	content := make([]byte, 5*pageSize+100)
	for i := range content {
		content[i] = byte(random.Uint32())
	}
	file := bytes.NewReader(content)
	p := &pages{file: file}
	for range 2000 {
		offset, n := random.Int64N(int64(len(content)+2*pageSize)), random.IntN(2*pageSize)
		want, got := make([]byte, n), make([]byte, n)
		wantN, _ := file.ReadAt(want, offset)
		gotN, err := p.ReadAt(got, offset)
		if gotN != wantN || !bytes.Equal(got, want) || (err == io.EOF) != (gotN < n) {
			t.Fatalf("%d bytes at %d: %d bytes, %v, want %d bytes", n, offset, gotN, err, wantN)
		}
	}
}

func TestPagesAreReadOnceAndTheirNumberIsBounded(t *testing.T) {
	file := &counting{ReaderAt: bytes.NewReader(make([]byte, 4*maxPages*pageSize))}
	p := &pages{file: file}
	b := make([]byte, 16)
	for range 10 {
		for page := range int64(maxPages) {
			if _, err := p.ReadAt(b, page*pageSize+8); err != nil {
				t.Fatal(err)
			}
		}
	}
	if file.reads != maxPages {
		t.Errorf("%d pages took %d reads", maxPages, file.reads)
	}
	for page := range int64(4 * maxPages) {
		if _, err := p.ReadAt(b, page*pageSize); err != nil {
			t.Fatal(err)
		}
		if len(p.kept) > maxPages {
			t.Fatalf("%d pages are kept, want at most %d", len(p.kept), maxPages)
		}
	}
}

func TestAnUnreadablePageIsAnErrorAndNotKept(t *testing.T) {
	bad := errors.New("bad sector")
	p := &pages{file: readerAt{iotest.ErrReader(bad)}}
	for range 2 {
		if n, err := p.ReadAt(make([]byte, 8), 0); n != 0 || !errors.Is(err, bad) {
			t.Errorf("read %d bytes, %v", n, err)
		}
	}
}

type readerAt struct{ io.Reader }

func (r readerAt) ReadAt(b []byte, _ int64) (int, error) { return r.Read(b) }

// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// testChunk returns a chunk by docs/log-format.md, with only the fields that are read here.
func testChunk(events uint32, lost uint64, payload int) []byte {
	const header = 160
	b := make([]byte, header+payload)
	le := binary.LittleEndian
	le.PutUint32(b, 0x184D2A5C)
	le.PutUint32(b[4:], header-8)
	copy(b[8:], "CRAU")
	le.PutUint64(b[88:], lost)
	le.PutUint32(b[100:], events)
	le.PutUint32(b[104:], uint32(payload))
	return b
}

func TestReadLogAddsUpChunkHeaders(t *testing.T) {
	dir := t.TempDir()
	index := append([]byte{0x5d, 0x2a, 0x4d, 0x18}, make([]byte, 200)...)
	for name, content := range map[string][]byte{
		"audit-0000000000000001.cborseq.zst": bytes.Join([][]byte{testChunk(0, 0, 10), testChunk(5, 0, 77), index}, nil),
		"audit-0000000000000007.cborseq.zst": testChunk(6, 3, 1),
		".lock":                              []byte("no segment"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readLog(dir)
	if want := (recorded{events: 11, lost: 3, chunks: 3}); err != nil || got != want {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestInvalidChunkIsReported(t *testing.T) {
	whole := testChunk(1, 0, 10)
	huge := testChunk(1, 0, 0)
	binary.LittleEndian.PutUint32(huge[104:], 1<<31)
	for name, c := range map[string]struct {
		file []byte
		want error // nil: any error except io.EOF and errPartial
	}{
		"end of the file":   {nil, io.EOF},
		"truncated header":  {whole[:100], errPartial},
		"truncated payload": {whole[:len(whole)-1], errPartial},
		"other data":        {bytes.Repeat([]byte("x"), 200), nil},
		"too long":          {huge, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := chunkAt(bytes.NewReader(c.file), int64(len(c.file)), 0)
			if err == nil || c.want != nil && err != c.want || c.want == nil && (err == io.EOF || errors.Is(err, errPartial)) {
				t.Errorf("got %v, want %v", err, c.want)
			}
		})
	}
}

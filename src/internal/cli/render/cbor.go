// SPDX-License-Identifier: Apache-2.0

package render

import (
	"io"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// cborWriter writes the entries of trees unmodified, so that the output is itself a log.
// A metadata entry with the boot time precedes the first entry and each entry with
// another boot time.
type cborWriter struct {
	w       io.Writer
	options Options
	begun   bool
	boot    int64 // in seconds since the Unix epoch
	buffer  []byte
}

func newCBOR(w io.Writer, o Options) Printer { return &cborWriter{w: w, options: o} }

func (p *cborWriter) Root(_ *schema.Span, entries []Entry) error {
	p.buffer = p.buffer[:0]
	for i := range entries {
		p.metadata(entries[i].Boot)
		p.buffer = append(p.buffer, entries[i].Bytes...)
	}
	_, err := p.w.Write(p.buffer)
	return err
}

func (p *cborWriter) metadata(boot int64) {
	seconds, _ := floorSeconds(boot)
	if p.begun && seconds == p.boot {
		return
	}
	p.begun, p.boot = true, seconds
	p.buffer = event.AppendMetadata(p.buffer, seconds, 0)
}

// Notice writes the entry of the notice.
func (p *cborWriter) Notice(n *Notice) error { return p.Root(nil, []Entry{n.Entry}) }

func (p *cborWriter) Close() error { return nil }

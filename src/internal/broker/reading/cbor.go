// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// AppendCBOR is the Encoder of groups in a stream.
func AppendCBOR(dst []byte, e *event.Entry) []byte {
	return event.AppendNumbered(dst, e.Raw, e.Sequence, e.Boot)
}

// AppendGap appends the notice of missing entries to a stream; its seq is the
// sequence of the last of them.
func AppendGap(dst []byte, g *Gap) []byte {
	notice := event.AppendMissing(nil, &event.Missing{Entries: g.Entries, Reason: g.Reason})
	return event.AppendNumbered(dst, notice, g.To.Sequence, 0)
}

// AppendEnd appends the notice that ends a stream; its seq is the sequence of the
// last entry that was read.
func AppendEnd(dst []byte, end event.End, at logstore.Cursor) []byte {
	return event.AppendNumbered(dst, event.AppendEnd(nil, &end), at.Sequence, 0)
}

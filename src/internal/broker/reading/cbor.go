// SPDX-License-Identifier: Apache-2.0

package reading

import (
	"encoding/binary"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// AppendCBOR is the Form of groups in a stream: the entry as it is in the log,
// with two keys before the others: seq, the sequence number, and boot, the time
// of boot in ns since the Unix epoch.
func AppendCBOR(dst []byte, e *Entry) []byte {
	return appendNumbered(dst, e.Raw, e.Sequence, e.Boot)
}

// appendNumbered appends an entry with the keys seq and boot.
func appendNumbered(dst, entry []byte, sequence uint64, boot int64) []byte {
	// An entry is a map (RFC 8949, section 3.1); it has few keys, but may have
	// any number of them.
	const major = 0xa0
	keys, head := uint64(entry[0]&0x1f), 1
	if size := 1 << (keys - 24); keys >= 24 {
		var b [8]byte
		copy(b[8-size:], entry[1:1+size])
		keys, head = binary.BigEndian.Uint64(b[:]), 1+size
	}
	dst = appendHead(dst, major, keys+2)
	dst = append(dst, "\x63seq"...)
	dst = appendHead(dst, 0, sequence)
	dst = append(dst, "\x64boot"...)
	if boot < 0 {
		const negative = 0x20
		dst = appendHead(dst, negative, uint64(^boot))
	} else {
		dst = appendHead(dst, 0, uint64(boot))
	}
	return append(dst, entry[head:]...)
}

// appendHead appends the head of an item.
func appendHead(dst []byte, major byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(dst, major|byte(n))
	case n < 1<<8:
		return append(dst, major|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, major|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, major|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, major|27), n)
}

// AppendGap appends the notice of missing entries to a stream; its seq is that
// of the last of them.
func AppendGap(dst []byte, g *Gap) []byte {
	notice := event.AppendMissing(nil, &event.Missing{Entries: g.Entries, Reason: string(g.Reason)})
	return appendNumbered(dst, notice, g.To.Sequence, 0)
}

// AppendEnd appends the notice that ends a stream; its seq is that of the last
// entry that was looked at.
func AppendEnd(dst []byte, end event.End, at logstore.Cursor) []byte {
	return appendNumbered(dst, event.AppendEnd(nil, &end), at.Sequence, 0)
}

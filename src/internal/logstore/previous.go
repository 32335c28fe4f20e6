// SPDX-License-Identifier: Apache-2.0

package logstore

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// Previous describes how the previous writer left a store.
type Previous struct {
	// End is the last time at which it is known to have recorded, in
	// nanoseconds since the Unix epoch; 0: the store is new.
	End int64
	// Orderly reports whether it was closed in good order.
	Orderly bool
	// BootID is that of its last chunk.
	BootID [16]byte
}

// Previous returns how the store was left by the last writer that recorded
// (StartRecording).
func (w *Writer) Previous() Previous { return w.previous }

// StartRecording notes that the caller records from now on. Until then, a
// writer that ends leaves no trace of its own: the next one finds the same
// Previous. From now on the modification time of the active segment is set at
// the Heartbeat interval.
func (w *Writer) StartRecording() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if err := w.lock.leave(note{}); err != nil {
		return err
	}
	w.recording = true
	w.queue.StartHeartbeat(w.opts.Heartbeat)
	return nil
}

// previousOf derives how the store was left from its end and the note.
func previousOf(end storeEnd, left note, now Moment) Previous {
	present := frame.RealTime(now.Boot, now.Offset)
	if end.last.Entries == 0 {
		return Previous{}
	}
	if p := left.pending; p.End != 0 {
		p.End = min(p.End, present)
		return p
	}
	p := Previous{
		End:     frame.RealTime(end.last.Last, end.last.Offset),
		Orderly: left.cursor == (Cursor{Store: end.store, Sequence: end.last.LastSequence()}).String(),
		BootID:  end.last.BootID,
	}
	if !p.Orderly && end.touched > p.End && end.touched <= present {
		p.End = end.touched
	}
	// The clock may have been set back.
	p.End = min(p.End, present)
	return p
}

// touchedAt returns the modification time of a segment, in nanoseconds since
// the Unix epoch; 0 for one that is sealed, which happens at any time, and one
// that cannot be looked at.
func touchedAt(dir string, first uint64) int64 {
	path := filepath.Join(dir, segment.Name(first))
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	s, err := segment.Open(path)
	if err != nil {
		return 0
	}
	defer s.Close()
	if _, sealed, err := s.Index(); err != nil || sealed {
		return 0
	}
	return info.ModTime().UnixNano()
}

// note is the text of the lock file: a line with the cursor at which the last
// writer was closed in good order, and, if that one never recorded, a line
// with the Previous that it found.
type note struct {
	cursor  string
	pending Previous
}

// maxNote bounds the length of the text.
const maxNote = 256

func (n note) String() string {
	if n.pending.End == 0 {
		return n.cursor
	}
	how := "killed"
	if n.pending.Orderly {
		how = "stopped"
	}
	return fmt.Sprintf("%s\n%s %d %s\n", n.cursor, how, n.pending.End, hex.EncodeToString(n.pending.BootID[:]))
}

// parseNote reads the text. A line of another form is ignored.
func parseNote(text string) (n note) {
	cursor, rest, _ := strings.Cut(text, "\n")
	n.cursor = cursor
	var how, boot string
	var p Previous
	if _, err := fmt.Sscanf(rest, "%s %d %s", &how, &p.End, &boot); err != nil {
		return n
	}
	id, err := hex.DecodeString(boot)
	if err != nil || len(id) != len(p.BootID) || p.End <= 0 {
		return n
	}
	p.BootID, p.Orderly = [16]byte(id), how == "stopped"
	n.pending = p
	return n
}

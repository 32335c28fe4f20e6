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

// Previous describes the state in which the previous writer left a store.
type Previous struct {
	// End is the last time at which the writer is known to have recorded, in nanoseconds
	// since the Unix epoch; 0 if the store is new.
	End int64
	// Orderly reports whether the writer was closed cleanly.
	Orderly bool
	// BootID is the boot id of its last chunk.
	BootID [16]byte
}

// Previous returns the state in which the last recording writer (StartRecording) left the
// store.
func (w *Writer) Previous() Previous { return w.previous }

// StartRecording records that the caller starts to record. A writer that ends before this
// leaves no trace: the next one finds the same Previous. From now on the modification time
// of the active segment is set at the Heartbeat interval.
func (w *Writer) StartRecording() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	if err := w.lock.writeNote(note{}); err != nil {
		return err
	}
	w.recording = true
	w.queue.StartHeartbeat(w.opts.Heartbeat)
	return nil
}

// previousOf derives the state from the end of the store and the note.
func previousOf(end storeEnd, lastNote note, now Moment) Previous {
	present := frame.RealTime(now.Boot, now.Offset)
	if end.last.Entries == 0 {
		return Previous{}
	}
	if p := lastNote.pending; p.End != 0 {
		p.End = min(p.End, present)
		return p
	}
	p := Previous{
		End:     frame.RealTime(end.last.Last, end.last.Offset),
		Orderly: lastNote.cursor == (Cursor{Store: end.store, Sequence: end.last.LastSequence()}).String(),
		BootID:  end.last.BootID,
	}
	if !p.Orderly && end.touched > p.End && end.touched <= present {
		p.End = end.touched
	}
	// The clock may have been set back.
	p.End = min(p.End, present)
	return p
}

// touchedAt returns the modification time of a segment, in nanoseconds since the Unix epoch.
// It returns 0 for a sealed segment, because sealing may happen at any time, and for one
// that cannot be examined.
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

// note is the content of the lock file: a line with the cursor at which the last writer was
// closed cleanly and, if that writer never recorded, a line with the Previous that it found.
type note struct {
	cursor  string
	pending Previous
}

// maxNote is the maximum length of the text.
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

// parseNote parses the text. It ignores a line of another form.
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

// SPDX-License-Identifier: Apache-2.0

// Package boots determines the boots of a machine from the notices in its log that
// recording started or stopped.
package boots

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// Boot is the part of a log that was recorded in one boot.
type Boot struct {
	// ID is the kernel's boot id, zero if the notice with it is no longer in the log.
	ID [16]byte
	// After and Last are sequences: the entries of the boot are those after After, up to
	// Last. Last is source.Newest for the newest boot.
	After, Last uint64
	// From is the time when recording began in this boot, or the time of its oldest
	// remaining entry; To is the last time at which the boot is known to have recorded. Both are in
	// nanoseconds since the Unix epoch; 0 if unknown.
	From, To int64
}

// none is not the name of any program: base names contain no slash.
const none = "/"

// Chunks selects the notices of a log in a directory, and little else.
func Chunks() logstore.Query {
	return logstore.Query{Terms: [][]logstore.Term{{logstore.NewTerm(logstore.Executable, none)}}}
}

// Filter is the same as Chunks, for the broker.
func Filter() client.Filter { return client.Filter{Executables: []string{none}} }

// finder builds boots from notices.
type finder struct {
	boots []Boot
	// latest is the last entry after which an undetected boot may have begun: a notice, or
	// the end of an unreadable part.
	latest uint64
}

// List returns the boots of a log, the oldest first. notices must have at least the
// notices of the log. List calls unread for each unreadable part, which may contain the
// start of a boot.
func List(ctx context.Context, notices source.Store, unread func(*source.GapError)) ([]Boot, error) {
	newest, oldest, err := notices.Ends()
	if err != nil {
		return nil, err
	}
	f := finder{latest: oldest.Sequence}
	var g event.Group
	for {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		_, boot, err := notices.Next(&g)
		var gap *source.GapError
		switch {
		case err == io.EOF && len(f.boots) == 0 && newest.Sequence > oldest.Sequence:
			err = f.begin(notices, [16]byte{})
			return f.boots, err
		case err == io.EOF:
			return f.boots, nil
		case errors.As(err, &gap):
			unread(gap)
			if at, err := notices.Cursor(); err == nil && !gap.Harmless {
				f.latest = max(f.latest, at.Sequence)
			}
			continue
		case err != nil:
			return nil, err
		}
		if r, ok := g.Recording(); ok {
			if err := f.add(&r, notices, boot, oldest.Sequence); err != nil {
				return nil, err
			}
		}
	}
}

// add processes a notice. boot is the boot time, oldest the sequence before the oldest
// entry.
func (f *finder) add(r *event.Recording, log source.Store, boot int64, oldest uint64) error {
	at := log.Sequence()
	// The first entry of the notice's segment precedes the notice.
	before := at - 1
	newBoot := r.Reason == event.MachineStopped || r.Reason == event.MachineCrashed
	if len(f.boots) == 0 && (r.State == event.Stopped || r.Since != 0 && before > oldest+1) {
		// The entries before the notice are from the same boot or an earlier one.
		id := r.BootID
		if newBoot {
			id = [16]byte{}
		}
		if err := f.begin(log, id); err != nil {
			return err
		}
	}
	n := len(f.boots)
	switch {
	case n == 0:
		f.boots = append(f.boots, Boot{ID: r.BootID, Last: source.Newest, From: event.WallTime(boot, r.Time)})
	case r.State == event.Stopped && r.BootID != f.boots[n-1].ID && r.BootID != [16]byte{} && f.boots[n-1].ID != [16]byte{}:
		// The notice of the boot's start cannot be read.
		f.boots[n-1].Last = f.latest
		f.boots = append(f.boots, Boot{ID: r.BootID, After: f.latest, Last: source.Newest})
	case r.State == event.Started && (newBoot || r.BootID != f.boots[n-1].ID && r.BootID != [16]byte{}):
		f.boots[n-1].Last, f.boots[n-1].To = before, r.Since
		f.boots = append(f.boots, Boot{ID: r.BootID, After: before, Last: source.Newest, From: event.WallTime(boot, r.Time)})
	}
	f.latest = at
	return nil
}

// begin adds the first boot of the log, if the notice of its start was removed.
func (f *finder) begin(log source.Store, id [16]byte) error {
	start, ok, err := log.Start()
	if err != nil {
		return err
	}
	if !ok {
		start = 0
	}
	f.boots = append(f.boots, Boot{ID: id, Last: source.Newest, From: start})
	return nil
}

// Spec identifies a boot.
type Spec struct {
	id     [16]byte
	byID   bool
	offset int
	text   string
}

// Parse parses the name of a boot: 0 is the newest, -1 the previous one, 1 the oldest; or
// a boot id, 32 hexadecimal digits with or without dashes, with an optional offset.
func Parse(text string) (s Spec, err error) {
	s.text = text
	offset := text
	if id, length := cutID(text); length > 0 {
		s.id, s.byID, offset = id, true, text[length:]
		if offset == "" {
			return s, nil
		}
		if !strings.ContainsAny(offset[:1], "+-") {
			return s, badBoot(text)
		}
	}
	if s.offset, err = strconv.Atoi(offset); err != nil {
		return s, badBoot(text)
	}
	return s, nil
}

func badBoot(text string) error {
	return fmt.Errorf("bad boot %q: it is a number, 0 for the newest, or a boot id of 32 hexadecimal digits", text)
}

// cutID returns the boot id at the beginning of a text and its length, 0 if there is none.
func cutID(text string) (id [16]byte, length int) {
	const digits, dashed = 32, 36
	if len(text) >= dashed && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-' {
		text, length = strings.ReplaceAll(text[:dashed], "-", ""), dashed
	} else if len(text) >= digits {
		text, length = text[:digits], digits
	}
	if length == 0 {
		return id, 0
	}
	if b, err := hex.DecodeString(text); err == nil && len(b) == len(id) {
		return [16]byte(b), length
	}
	return id, 0
}

// Find returns the boot that the Spec identifies.
func (s Spec) Find(boots []Boot) (Boot, error) {
	at := len(boots) - 1 + s.offset
	if s.offset > 0 {
		at = s.offset - 1
	}
	if s.byID {
		at = -1
		for i := range boots {
			if boots[i].ID == s.id {
				at = i + s.offset
			}
		}
	}
	if at >= 0 && at < len(boots) {
		return boots[at], nil
	}
	held := fmt.Sprintf("it holds %d boots", len(boots))
	if len(boots) == 1 {
		held = "it holds one boot"
	}
	if s.byID && len(boots) > 0 && boots[0].ID == [16]byte{} {
		held += ", of which the oldest has no known id"
	}
	return Boot{}, fmt.Errorf("boot %s is not in the log: %s; see crauctl query --list-boots", s.text, held)
}

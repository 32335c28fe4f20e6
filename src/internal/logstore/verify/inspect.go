// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
)

// Info describes a segment from its headers or its index, without its payloads.
type Info struct {
	Path   string
	Bytes  int64
	Sealed bool
	Chunks int
	// First and Last are sequences; both are zero if no header is readable.
	First, Last  uint64
	Entries      uint64
	Events, Lost uint64
	Uncompressed uint64
	BootID       [16]byte
	// FirstTime and LastTime are real times in nanoseconds since the Unix epoch.
	FirstTime, LastTime int64
	// Damaged is the number of untrusted parts, including a torn end.
	Damaged int
	// Unreadable is the reason why the file cannot be opened or read, nil if it can. If it
	// is set, First is from the file name, and only Path and Bytes are set in addition.
	Unreadable *segment.UnreadableError
	// Foreign is the reason why the file does not belong to the store, nil if it does. If it
	// is set, First is from the file name, and only Path and Bytes are set in addition.
	Foreign *segment.ForeignError
}

// Inspect describes the segments of the store in dir, oldest first. If progress is not nil, it
// is called after each segment with the number of bytes done and in total. The error is a
// read error or that of ctx.
func Inspect(ctx context.Context, dir string, progress func(done, total int64)) ([]Info, error) {
	list, err := segment.List(dir)
	if err != nil {
		return nil, err
	}
	store, _, _ := segment.StoreID(dir, list)
	all := make([]Info, 0, len(list))
	done, total := int64(0), int64(0)
	for _, first := range list {
		if info, err := os.Lstat(filepath.Join(dir, segment.Name(first))); err == nil {
			total += info.Size()
		}
	}
	for _, first := range list {
		info, err := inspect(ctx, filepath.Join(dir, segment.Name(first)), first, store)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if unreadable, ok := segment.AsUnreadable(err); ok {
			info = Info{Path: info.Path, Bytes: info.Bytes, First: first, Unreadable: unreadable}
			err = nil
		}
		var odd *segment.ForeignError
		if errors.As(err, &odd) {
			info = Info{Path: info.Path, Bytes: info.Bytes, First: first, Foreign: odd}
			err = nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, info)
		if done += info.Bytes; progress != nil {
			progress(done, max(done, total))
		}
	}
	return all, nil
}

func inspect(ctx context.Context, path string, first uint64, store [16]byte) (Info, error) {
	info := Info{Path: path}
	s, err := segment.Open(path)
	if err != nil {
		return info, err
	}
	defer s.Close()
	if info.Bytes, err = s.Size(); err != nil {
		return info, err
	}
	var h frame.Header
	if err := s.Header(0, &h); err == nil {
		if err := segment.Belongs(&h, first, store); err != nil {
			return info, err
		}
	}
	x, sealed, err := s.Index()
	if _, corrupt := segment.AsCorrupt(err); corrupt {
		info.Damaged++
	} else if err != nil {
		return info, err
	}
	if sealed {
		info.Sealed = true
		info.fill(x)
		return info, nil
	}
	x = new(frame.Index)
	for walker := s.Walk(); ; {
		offset, err := walker.Next(ctx, &h)
		if err == io.EOF {
			break
		}
		if _, corrupt := segment.AsCorrupt(err); corrupt {
			info.Damaged++
			continue
		}
		if err != nil {
			return info, err
		}
		gather(x, offset, &h)
		info.Entries += uint64(h.Entries)
	}
	entries := info.Entries
	info.fill(x)
	info.Entries = entries
	return info, nil
}

func (i *Info) fill(x *frame.Index) {
	i.Chunks = len(x.Records)
	i.First, i.Last, i.BootID = x.Sequence, x.LastSequence, x.BootID
	i.Events, i.Lost, i.Uncompressed = x.Events, x.Lost, x.Uncompressed
	i.FirstTime, i.LastTime = frame.RealTime(x.First, x.Offset), frame.RealTime(x.Last, x.Offset)
	if i.Chunks > 0 {
		i.Entries = x.LastSequence - x.Sequence + 1
	}
}

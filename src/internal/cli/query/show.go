// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// quiet is how long nothing must happen in a tree before it is shown while a
// log is followed: longer than the agent gathers events and most handshakes
// pause.
const quiet = 2 * time.Second

// followLines is the number of operations shown at first when a log is
// followed.
const followLines = 10

// open opens the log that the query is about, at its beginning.
func (q *query) open(ctx context.Context) (source.Store, error) {
	return q.openFor(ctx, q.selection.Chunks(q.boot.Forced != nil), q.selection.Filter(q.boot.Forced != nil))
}

// openFor opens the log without what need not be read: chunks says so for a
// directory, filter for the broker.
func (q *query) openFor(ctx context.Context, chunks logstore.Query, filter client.Filter) (source.Store, error) {
	if q.directory != "" {
		return source.OpenDirectory(ctx, q.directory, chunks, q.boot)
	}
	return source.OpenBus(ctx, q.environment, filter, q.boot)
}

// showStore shows what is selected of a store.
func (q *query) showStore(ctx context.Context, out *output.Output) (_ *gaps, err error) {
	src, err := q.open(ctx)
	if err != nil {
		return &gaps{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	after, notes, err := q.startCursor(src)
	if err != nil {
		return &gaps{}, err
	}
	var v *viewer
	switch {
	case q.follow:
		v, err = q.followStore(ctx, src, out, after)
	case q.lines >= 0 || q.reverse:
		v, err = q.showBackward(ctx, src, out, after)
	default:
		if sign := q.sign(); sign != nil {
			v, err = q.showAround(ctx, sign, src, out, after)
		} else if err = q.seek(ctx, src, after); err == nil {
			v, err = q.showFrom(ctx, src, out)
		}
	}
	if v == nil {
		return &gaps{notes: notes}, err
	}
	if err == nil && after == nil && !q.follow {
		var removed []string
		removed, err = q.removed(src, v)
		notes = append(notes, removed...)
	}
	v.gaps.notes = append(notes, v.gaps.notes...)
	if err == nil && !q.follow && v.shown == 0 {
		q.explain(v, src.Trouble())
	}
	if err == nil {
		err = q.leaveCursor(src, out, v)
	}
	return &v.gaps, err
}

// seek puts the store where the query begins: behind a cursor, or before --since.
func (q *query) seek(ctx context.Context, src source.Store, after *logstore.Cursor) (err error) {
	if after == nil {
		after, err = q.begin(ctx, src)
	}
	if err != nil || after == nil {
		return err
	}
	_, err = src.Seek(*after)
	return err
}

// What seems to begin at --since may be a part of an operation that began before: so
// many entries are read before it, or more if these are of less than leadInTime.
const (
	leadInFew  = 4096
	leadInMost = 16 * leadInFew
	leadInTime = 10 * time.Second
)

// begin returns the position from which on the log can contribute to what began
// at --since or later, nil for its beginning.
func (q *query) begin(ctx context.Context, src source.Store) (*logstore.Cursor, error) {
	if q.selection.Since == math.MinInt64 || q.boot.Forced != nil {
		return nil, nil
	}
	since := max(q.selection.Since, 1)
	if err := src.SeekTime(ctx, since); err != nil {
		return nil, err
	}
	at, err := src.Cursor()
	if err != nil {
		return nil, err
	}
	for n := uint64(leadInFew); ; n *= 4 {
		from, ok, err := src.Back(at, n)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, src.Rewind()
		}
		if n >= leadInMost {
			return &from, nil
		}
		if _, err := src.Seek(from); err != nil {
			return nil, err
		}
		var g event.Group
		if _, boot, err := src.Next(&g); err != nil || event.WallTime(boot, g.Start) <= since-int64(leadInTime) {
			return &from, nil
		}
	}
}

// showFrom shows the log from where the source stands to its end.
func (q *query) showFrom(ctx context.Context, src source.Source, out *output.Output) (*viewer, error) {
	v := newViewer(q, out)
	v.progress = q.progressOf(src)
	builder := schema.NewBuilder(q.registry, schema.Options{Ordered: true}, v.root)
	if !v.holding {
		out.PrintAside(ctx, builder.Release)
	}
	source.Ahead(src)
	err := v.read(ctx, src, builder)
	builder.Close()
	if v.err == nil {
		v.err = v.finish()
	}
	if v.err != nil {
		return v, v.err
	}
	return v, err
}

// window is the end of a log, read without what precedes it. What seems to
// be a root near its beginning may be part of an operation that began before.
type window struct {
	// leadIn is the number of entries at the beginning of which only what
	// the registry lets stand alone is believed to be a root, for leadTime at
	// most.
	leadIn uint64

	read       uint64
	start, end int64 // of the lead-in
	closed     bool
}

const leadTime = 2 * time.Second

// see notes the time of an entry.
func (w *window) see(start int64) {
	if w.read == 0 {
		w.start, w.end = start, start+int64(leadTime)
	}
	w.read++
	if w.read == w.leadIn && !w.closed {
		w.closed, w.end = true, min(w.end, max(start, w.start))
	}
}

// believes reports whether a root is one.
func (w *window) believes(r *schema.Registry, root *schema.Span) bool {
	return root.Start >= w.end || (!root.Headless && r.StandsAlone(root.Name))
}

// followStore shows the newest operations and then what is appended, until
// the context is done.
func (q *query) followStore(ctx context.Context, src source.Store, out *output.Output, after *logstore.Cursor) (*viewer, error) {
	v := newViewer(q, out)
	if after == nil && q.selection.Since == math.MinInt64 {
		newest, oldest, err := src.Ends()
		if err != nil {
			return nil, err
		}
		entries := 4096 + 64*uint64(max(q.lines, 0))
		if newest.Sequence-min(oldest.Sequence, newest.Sequence) > entries {
			newest.Sequence -= entries
			after = &newest
			v.window = &window{leadIn: entries / 4}
		}
	}
	if err := q.seek(ctx, src, after); err != nil {
		return nil, err
	}
	// What is there already is held back until it is known to be the newest.
	v.holding = q.lines >= 0
	builder := schema.NewBuilder(q.registry, schema.Options{}, v.root)
	for first := true; ; first = false {
		err := v.read(ctx, src, builder)
		if err == nil && first && q.selection.Since != math.MinInt64 && after == nil {
			var removed []string
			removed, err = q.removed(src, v)
			v.gaps.notes = append(removed, v.gaps.notes...)
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return v, err
		}
		builder.Flush(q.environment.Now().Add(-quiet).UnixNano())
		v.releaseHeld()
		v.releaseNotices(builder)
		v.reportGaps(q.environment.Stderr)
		if v.err == nil {
			v.err = out.Flush()
		}
		if v.err != nil {
			return v, v.err
		}
		err = wait(ctx, src, builder)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return v, err
		}
	}
	builder.Close()
	if v.err == nil {
		v.err = v.finish()
	}
	return v, v.err
}

// noticeDelay is how long a notice waits, while a log is followed, for trees
// that began before it.
const noticeDelay = 5 * quiet

// releaseNotices passes on notices while a log is followed. Those about a later
// time than the beginning of a tree that is under way wait for it, but not for
// long.
func (v *viewer) releaseNotices(builder *schema.Builder) {
	if _, oldest, pending := builder.Pending(); pending {
		v.noticesBefore(max(oldest, v.query.environment.Now().Add(-noticeDelay).UnixNano()))
	} else {
		v.allNotices()
	}
}

// wait waits until there is more in the log, or trees may have become quiet.
func wait(ctx context.Context, src source.Store, builder *schema.Builder) error {
	if pending, _, _ := builder.Pending(); pending > 0 {
		timed, cancel := context.WithTimeout(ctx, quiet/4)
		defer cancel()
		ctx = timed
	}
	err := src.Wait(ctx)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// reportGaps tells at once what could not be read.
func (v *viewer) reportGaps(w io.Writer) {
	if v.query.quiet {
		v.gaps.notes = nil
	}
	if len(v.gaps.errs) == 0 && len(v.gaps.notes) == 0 {
		return
	}
	if err := v.gaps.report(w); err != nil {
		fmt.Fprintln(w, "crauctl:", err)
	}
	v.gaps = gaps{failed: v.gaps.failed || len(v.gaps.errs) > 0}
}

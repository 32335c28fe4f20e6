// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"crypto-auditing/src/client"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/settle"
)

// quiet is the time without an event after which a tree is shown while a log is
// followed.
const quiet = settle.Quiet

// followLines is the number of operations that are shown first when a log is followed.
const followLines = 10

// open opens the log of the query, at its beginning.
func (q *query) open(ctx context.Context) (source.Store, error) {
	return q.openFor(ctx, q.selection.Chunks(q.boot.Forced != nil), q.selection.Filter(q.boot.Forced != nil))
}

// openFor opens the log without the parts that need not be read, by chunks for a
// directory and by filter for the broker.
func (q *query) openFor(ctx context.Context, chunks logstore.Query, filter client.Filter) (source.Store, error) {
	var log source.Store
	var err error
	if q.directory != "" {
		log, err = source.OpenDirectory(ctx, q.directory, chunks, q.boot)
	} else {
		log, err = source.OpenBus(ctx, q.environment, filter, q.boot)
	}
	if err != nil {
		return nil, err
	}
	return q.within(log)
}

// showStore shows the selection of a store.
func (q *query) showStore(ctx context.Context, out *output.Output) (_ *viewer.Gaps, err error) {
	if q.chosen != nil {
		if err := q.narrow(ctx, out.Notes()); err != nil {
			return &viewer.Gaps{}, err
		}
	}
	src, err := q.open(ctx)
	if err != nil {
		return &viewer.Gaps{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	after, notes, err := q.startCursor(src)
	if err != nil {
		return &viewer.Gaps{}, err
	}
	var v *viewer.Viewer
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
		return &viewer.Gaps{Notes: notes}, err
	}
	if err == nil && after == nil && !q.follow {
		var removed []string
		removed, err = q.removed(src, v)
		notes = append(notes, removed...)
	}
	v.Gaps.Notes = append(notes, v.Gaps.Notes...)
	if err == nil && !q.follow && v.Shown == 0 {
		q.explain(v, src.Trouble())
	}
	if err == nil {
		err = q.saveCursor(src, out, v)
	}
	return &v.Gaps, err
}

// seek positions the store where the query begins: after a cursor, or before --since.
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

// An operation that seems to begin at --since may be part of an earlier one. Therefore
// leadInMin entries before it are read, or more if these span less than leadInTime.
const (
	leadInMin  = 4096
	leadInMax  = 16 * leadInMin
	leadInTime = 10 * time.Second
)

// begin returns the position from which the log may contain parts of operations that
// began at --since or later, nil for its beginning.
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
	for n := uint64(leadInMin); ; n *= 4 {
		from, ok, err := src.StepBack(at, n)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, src.Rewind()
		}
		if n >= leadInMax {
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

// showFrom shows the log from the position of the source to its end.
func (q *query) showFrom(ctx context.Context, src source.Source, out *output.Output) (*viewer.Viewer, error) {
	v := viewer.New(q.viewer(), out)
	v.Progress = q.progressOf(src)
	builder := schema.NewBuilder(q.registry, schema.Options{Ordered: true}, v.Root)
	if !v.Holding {
		out.PrintAside(ctx, builder.Release)
	}
	source.Ahead(src)
	err := v.Read(ctx, src, builder)
	builder.Close()
	if v.Err == nil {
		v.Err = v.Finish()
	}
	if v.Err != nil {
		return v, v.Err
	}
	return v, err
}

// followStore shows the newest operations and then new ones, until the context is done.
func (q *query) followStore(ctx context.Context, src source.Store, out *output.Output, after *logstore.Cursor) (*viewer.Viewer, error) {
	v := viewer.New(q.viewer(), out)
	if after == nil && q.selection.Since == math.MinInt64 {
		newest, oldest, err := src.Ends()
		if err != nil {
			return nil, err
		}
		entries := 4096 + 64*uint64(max(q.lines, 0))
		if newest.Sequence-min(oldest.Sequence, newest.Sequence) > entries {
			newest.Sequence -= entries
			after = &newest
			v.Window = &viewer.Window{LeadIn: entries / 4}
		}
	}
	if err := q.seek(ctx, src, after); err != nil {
		return nil, err
	}
	// Existing operations are held until they are known to be the newest.
	v.Holding = q.lines >= 0
	builder := schema.NewBuilder(q.registry, schema.Options{}, v.Root)
	for first := true; ; first = false {
		err := v.Read(ctx, src, builder)
		if err == nil && first && q.selection.Since != math.MinInt64 && after == nil {
			var removed []string
			removed, err = q.removed(src, v)
			v.Gaps.Notes = append(removed, v.Gaps.Notes...)
		}
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return v, err
		}
		builder.Flush(q.environment.Now().Add(-quiet).UnixNano())
		v.ReleaseHeld()
		q.releaseNotices(v, builder)
		q.reportGaps(v)
		if v.Err == nil {
			v.Err = out.Flush()
		}
		if v.Err != nil {
			return v, v.Err
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
	if v.Err == nil {
		v.Err = v.Finish()
	}
	return v, v.Err
}

// noticeDelay is the time for which a notice waits for trees that began before it, while
// a log is followed.
const noticeDelay = 5 * quiet

// releaseNotices prints notices while a log is followed. A notice waits for incomplete
// trees that began before its time, for at most noticeDelay.
func (q *query) releaseNotices(v *viewer.Viewer, builder *schema.Builder) {
	if _, oldest, pending := builder.Pending(); pending {
		v.NoticesBefore(max(oldest, q.environment.Now().Add(-noticeDelay).UnixNano()))
	} else {
		v.AllNotices()
	}
}

// wait waits until the log has more entries, or trees may have become quiet.
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

// reportGaps reports unreadable parts at once.
func (q *query) reportGaps(v *viewer.Viewer) {
	w := q.environment.Stderr
	if q.quiet {
		v.Gaps.Notes = nil
	}
	if len(v.Gaps.Errs) == 0 && len(v.Gaps.Notes) == 0 {
		return
	}
	if err := v.Gaps.Report(w); err != nil {
		fmt.Fprintln(w, "crauctl:", err)
	}
	v.Gaps = viewer.Gaps{Failed: v.Gaps.Failed || len(v.Gaps.Errs) > 0}
}

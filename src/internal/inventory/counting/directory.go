// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"crypto-auditing/src/internal/entry"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/schema"
)

// around is the time before and after a period for which the log is read, to complete the operations
// that began in the period.
const around = time.Minute

// Selection selects operations. The zero value selects all.
type Selection struct {
	// Since and Until are the period in which the operations begin; it ends before Until. Zero times
	// mean no bound.
	Since, Until time.Time
	// Keep reports whether a use is selected; nil selects all.
	Keep func(*row.Use) bool
}

// Period is a Counter that counts only selected operations.
type Period struct {
	*Counter
	Selection
}

// NewPeriod returns a Period.
func NewPeriod(r *schema.Registry, selected Selection) (*Period, error) {
	c, err := New(Options{Registry: r, MaxUnits: math.MaxInt})
	if err != nil {
		return nil, err
	}
	p := &Period{Counter: c, Selection: selected}
	c.count = func(s *schema.Span) {
		if p.Has(s.Start) {
			c.add(s)
		}
	}
	return p, nil
}

// Has reports whether a time, in nanoseconds since the Unix epoch, is in the period.
func (p *Period) Has(at int64) bool {
	return (p.Since.IsZero() || at >= p.Since.UnixNano()) && (p.Until.IsZero() || at < p.Until.UnixNano())
}

// Observed completes all operations and returns the observations.
func (p *Period) Observed() *observed.Observed {
	p.Close()
	counts := p.Take()
	if p.Keep != nil {
		counts.Rows = slices.DeleteFunc(counts.Rows, func(r row.Row) bool { return !p.Keep(&r.Use) })
	}
	return counts.Observed(p.Since, p.Until)
}

// Progress receives the number of read entries and the total.
type Progress func(done, total uint64)

// Directory returns the observations of selected operations from the log in a directory, without a
// database. progress may be nil. The coverage ignores the status of the agent, which may be on another
// machine.
func Directory(ctx context.Context, directory string, r *schema.Registry, selected Selection, progress Progress) (*observed.Observed, error) {
	p, err := NewPeriod(r, selected)
	if err != nil {
		return nil, err
	}
	d := &directoryReader{Period: p, progress: progress}
	query := logstore.Query{}
	if !selected.Since.IsZero() {
		// Earlier notices name the libraries.
		d.early = true
		if err := d.read(ctx, directory, logstore.NoticesOnly()); err != nil {
			return nil, err
		}
		d.early = false
		query.Since = selected.Since.Add(-around).UnixNano()
	}
	if !selected.Until.IsZero() {
		query.Until = selected.Until.Add(around).UnixNano()
	}
	if err := d.read(ctx, directory, query); err != nil {
		return nil, err
	}
	o := p.Observed()
	o.Coverage.First, o.Coverage.Last, o.Coverage.Chain = d.first, d.last, d.chain
	return o, nil
}

// directoryReader reads the log in a directory.
type directoryReader struct {
	*Period

	progress    Progress
	group       event.Group
	first, last uint64
	chain       string
	// early is set while reading notices that may precede the period.
	early bool
}

// read counts the entries of chunks.
func (d *directoryReader) read(ctx context.Context, directory string, query logstore.Query) error {
	reader, err := logstore.OpenReader(directory, logstore.ReaderOptions{EntryLen: event.Len, Query: query})
	if err != nil {
		return fmt.Errorf("cannot open log directory %s: %w", directory, err)
	}
	defer reader.Close()
	newest, err := reader.Newest()
	if err != nil {
		return fmt.Errorf("cannot find the end of log directory %s: %w", directory, err)
	}
	ahead := logstore.NewAhead(reader)
	defer ahead.Stop()
	for {
		chunk, err := ahead.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			lack, ok := entry.LackOf(err)
			if !ok || ctx.Err() != nil {
				return fmt.Errorf("cannot read the log: %w", err)
			}
			if !d.early {
				d.Missing(lack.Missing().Entries)
			}
			continue
		}
		d.chunk(chunk)
		if d.progress != nil && !d.early {
			d.progress(chunk.Last, newest.Sequence)
		}
	}
}

// chunk counts the entries of a chunk.
func (d *directoryReader) chunk(chunk *logstore.Chunk) {
	sequence := chunk.First
	for rest := chunk.Entries; len(rest) > 0; sequence++ {
		n, err := event.Decode(rest, &d.group)
		if err != nil {
			// Its checksum is valid: the writer made a mistake.
			d.Missing(chunk.Last - sequence + 1)
			return
		}
		rest = rest[n:]
		if d.early {
			// Notices before the period are only needed for the names of libraries.
			if d.group.IsMetadata() {
				d.builder.Add(&d.group, chunk.Header.Offset)
			}
			continue
		}
		if d.first == 0 {
			d.first = sequence
		}
		d.last = sequence
		d.Add(&d.group, chunk.Header.Offset)
	}
	if !d.early {
		d.chain = hex.EncodeToString(chunk.Header.Hash[:])
	}
}

// Files counts selected operations of another source of a log, such as files. next returns the
// next entry with the boot time to which its times are relative, in nanoseconds since the Unix epoch;
// io.EOF at the end; a *MissingError for entries that cannot be read.
func Files(ctx context.Context, next func(*event.Group) (boot int64, err error), r *schema.Registry, selected Selection) (*observed.Observed, error) {
	p, err := NewPeriod(r, selected)
	if err != nil {
		return nil, err
	}
	var g event.Group
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
		boot, err := next(&g)
		var missing *MissingError
		switch {
		case err == io.EOF:
			return p.Observed(), nil
		case errors.As(err, &missing):
			p.Missing(missing.Entries)
		case err != nil:
			return nil, err
		default:
			p.Add(&g, boot)
		}
	}
}

// MissingError reports entries of a log that cannot be read. Reading continues after them.
type MissingError struct {
	Entries uint64
	Err     error
}

func (e *MissingError) Error() string { return e.Err.Error() }

func (e *MissingError) Unwrap() error { return e.Err }

// SPDX-License-Identifier: Apache-2.0

package observed

import (
	"context"
	"errors"
	"fmt"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/schema"
)

// Load returns what the options select. What cannot be read is counted as missing in its coverage,
// and reported on standard error if it is a part of a file. The error is a UsageError or a
// timespec.Error if the options are wrong.
func Load(ctx context.Context, e *console.Environment, f *Flags) (*observed.Observed, error) {
	since, until, err := f.period(e)
	if err != nil {
		return nil, err
	}
	keep, err := f.keep()
	if err != nil {
		return nil, err
	}
	selected := counting.Selection{Since: since, Until: until, Keep: keep}
	if len(f.files) > 0 && f.directory != "" {
		return nil, console.Usagef("--file and --directory exclude each other")
	}
	registry, err := f.Registry(e)
	if err != nil {
		return nil, err
	}
	if len(f.files) > 0 {
		return f.loadFiles(ctx, e, registry, selected)
	}
	return f.loadDirectory(ctx, e, registry, selected)
}

// loadDirectory counts what a directory holds: the one of --directory, or that of this machine's
// log.
func (f *Flags) loadDirectory(ctx context.Context, e *console.Environment, registry *schema.Registry, selected counting.Selection) (*observed.Observed, error) {
	directory := f.directory
	if directory == "" {
		var err error
		if directory, err = e.LogDirectory(); err != nil {
			return nil, err
		}
	}
	if _, err := source.Segments(directory); err != nil {
		return nil, err
	}
	meter := progress.Start(e, progress.Options{Verb: "Counting", Unit: progress.Entries})
	defer meter.Stop()
	begin := uint64(0)
	return counting.Directory(ctx, directory, registry, selected, func(done, total uint64) {
		if begin == 0 {
			begin = done
		}
		meter.Set(int64(done-begin), int64(total-begin))
	})
}

// loadFiles counts what files hold.
func (f *Flags) loadFiles(ctx context.Context, e *console.Environment, registry *schema.Registry, selected counting.Selection) (o *observed.Observed, err error) {
	src, err := source.OpenFiles(ctx, f.files, source.BootTime{Machine: e.BootTime})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	meter := progress.Start(e, progress.Options{Verb: "Counting", Unit: progress.Bytes})
	defer meter.Stop()
	stderr := meter.Writer(e.Stderr)
	far := source.ProgressOf(src)
	n := 0
	var unread error
	o, err = counting.Files(ctx, func(g *event.Group) (int64, error) {
		_, boot, err := src.Next(g)
		if err == nil {
			if n++; n%progressInterval == 0 {
				meter.Set(far())
			}
		}
		var gap *source.GapError
		if errors.As(err, &gap) {
			entries := gap.Missing.Entries
			if !gap.Harmless {
				if unread != nil {
					fmt.Fprintln(stderr, "crauctl:", unread)
				}
				unread = gap
				entries = max(entries, 1)
			}
			return 0, &counting.MissingError{Entries: entries, Err: gap}
		}
		return boot, err
	}, registry, selected)
	switch {
	case err != nil || unread == nil:
	case n == 0:
		return nil, unread // nothing at all can be read
	default:
		fmt.Fprintln(stderr, "crauctl:", unread)
	}
	return o, err
}

// progressInterval is the number of entries of files after which progress is updated.
const progressInterval = 4096

// SPDX-License-Identifier: Apache-2.0

package observed

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"crypto-auditing/src/client/inventory"
	"crypto-auditing/src/internal/cli/bus"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/selection"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/inventory/counting"
	"crypto-auditing/src/internal/inventory/observed"
	"crypto-auditing/src/internal/inventory/report"
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

// Load returns the observations that the options select. Unreadable entries count as missing in their
// coverage, and are reported on standard error for a file. The error is a UsageError or a
// timespec.Error if the options are wrong.
func Load(ctx context.Context, e *console.Environment, f *Flags) (*observed.Observed, error) {
	o, err := f.load(ctx, e)
	if err != nil {
		return nil, err
	}
	// Programs choose some of the names, and another service may own the name on the bus.
	return report.Printable(o), nil
}

func (f *Flags) load(ctx context.Context, e *console.Environment) (*observed.Observed, error) {
	since, until, err := f.period(e)
	if err != nil {
		return nil, err
	}
	names, err := f.names()
	if err != nil {
		return nil, err
	}
	selected := counting.Selection{Since: since, Until: until, Keep: names.keep()}
	if len(f.files) > 0 && f.directory != "" {
		return nil, console.Usagef("--file and --directory exclude each other")
	}
	registry, err := f.Registry(e)
	if err != nil {
		return nil, err
	}
	switch {
	case len(f.files) > 0:
		return f.loadFiles(ctx, e, registry, selected)
	case f.IsLog():
		return f.loadDirectory(ctx, e, registry, selected)
	}
	return load(ctx, e, inventory.ExportOptions{Since: since, Until: until}, &names)
}

// load queries the inventory of this machine.
func load(ctx context.Context, e *console.Environment, options inventory.ExportOptions, names *names) (*observed.Observed, error) {
	c, err := bus.Dial(ctx, e)
	if err != nil {
		return nil, bus.InventoryError(err)
	}
	defer c.Close()
	i := inventory.Of(c).Patient(e.AnswerTime)
	meter := progress.Start(e, progress.Options{Verb: "Counting", Unit: progress.Entries})
	complete, err := i.Wait(ctx, func(counted, newest uint64) { meter.Set(int64(counted), int64(newest)) })
	meter.Stop()
	if err != nil {
		return nil, bus.InventoryError(err)
	}
	if !complete {
		fmt.Fprintln(e.Stderr, "crauctl: the inventory has not counted the newest entries of the log: see systemctl status crypto-auditing-inventory")
	}
	if err := choose(ctx, i, &options, names); err != nil {
		return nil, bus.InventoryError(err)
	}
	o, err := i.Observed(ctx, options)
	return o, bus.InventoryError(err)
}

// noName is not the name of a program or a unit: names are without a slash.
const noName = "/"

// choose adds the selected programs and units to the options for the inventory, which supports names, but
// no patterns.
func choose(ctx context.Context, i inventory.Inventory, options *inventory.ExportOptions, names *names) error {
	if names.all() {
		return nil
	}
	rows, err := i.Summarize(ctx, []string{"executable", "unit"}, inventory.Filter{Since: options.Since, Until: options.Until})
	if err != nil {
		return err
	}
	options.Executables = matching(rows, &names.programs, names.haveProgram, func(r *row.Row) string { return r.Executable })
	options.Units = matching(rows, &names.units, names.haveUnit, func(r *row.Row) string { return r.Unit })
	return nil
}

// matching returns the selected names in rows, nil if all are selected.
func matching(rows []row.Row, selected *selection.Names, have func(string) bool, name func(*row.Row) string) []string {
	if selected.Any() {
		return nil
	}
	found := map[string]bool{}
	for i := range rows {
		if n := name(&rows[i]); have(n) {
			found[n] = true
		}
	}
	if len(found) == 0 {
		return []string{noName}
	}
	return slices.Sorted(maps.Keys(found))
}

// loadDirectory counts the log in a directory.
func (f *Flags) loadDirectory(ctx context.Context, e *console.Environment, registry *schema.Registry, selected counting.Selection) (*observed.Observed, error) {
	if _, err := source.Segments(f.directory); err != nil {
		return nil, err
	}
	meter := progress.Start(e, progress.Options{Verb: "Counting", Unit: progress.Entries})
	defer meter.Stop()
	begin := uint64(0)
	return counting.Directory(ctx, f.directory, registry, selected, func(done, total uint64) {
		if begin == 0 {
			begin = done
		}
		meter.Set(int64(done-begin), int64(total-begin))
	})
}

// loadFiles counts the logs in files.
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
		return nil, unread // nothing can be read
	default:
		fmt.Fprintln(stderr, "crauctl:", unread)
	}
	return o, err
}

// progressInterval is the number of entries of files after which progress is updated.
const progressInterval = 4096

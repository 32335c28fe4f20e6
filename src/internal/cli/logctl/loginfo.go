// SPDX-License-Identifier: Apache-2.0

// Package logctl implements the commands of crauctl for the log as a whole: log-info,
// verify, vacuum and subscriptions.
package logctl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/logstore/verify"
)

// directoryFlags are the common options of the commands for a directory.
type directoryFlags struct {
	directory string
	output    console.ReportOption
}

func (f *directoryFlags) add(command *cobra.Command) {
	command.Flags().StringVarP(&f.directory, "directory", "D", "", "use the log in directory `DIR` instead of this machine's")
	console.CompleteDirectories(command, "directory")
	f.output.Add(command)
}

func (f *directoryFlags) check(e *console.Environment) error {
	err := f.output.Check()
	if err == nil && f.directory == "" {
		f.directory, err = e.LogDirectory()
	}
	return err
}

// NewLogInfoCommand returns crauctl log-info.
func NewLogInfoCommand(e *console.Environment) *cobra.Command {
	var f directoryFlags
	command := &cobra.Command{
		Use:   "log-info",
		Short: "Describe a log: its segments, times, size and losses",
		Long: `Log-info reads the headers of a log and lists for each segment its chunks,
entries, events, compression, the time that it spans, and the number of events
that were lost before they could be recorded. Then it lists the newest times
without recording, removals and losses in the log. It does not check the
contents: see crauctl verify.

A segment is open (being written, or left open by a crash), or sealed: rewritten
with larger chunks and an index. A segment that cannot be read is unreadable; a
file with the name of a segment that does not belong to the log is foreign. The
exit status is 1 in both cases.
` + console.ExitHelp,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := f.check(e); err != nil {
				return err
			}
			if _, err := source.Segments(f.directory); err != nil {
				return err
			}
			meter := progress.Start(e, progress.Options{Verb: "Reading", Unit: progress.Bytes})
			defer meter.Stop()
			segments, err := verify.Inspect(command.Context(), f.directory, meter.Set)
			if err != nil {
				return fmt.Errorf("cannot describe log directory %s: %w", f.directory, err)
			}
			found, err := readFindings(command.Context(), f.directory)
			if err != nil {
				return err
			}
			meter.Stop()
			if err := f.output.Write(e.Stdout, console.Report{
				Text: func(w io.Writer) error { return writeInfo(w, segments, found, e.Location) },
				JSON: infoJSON(segments, found),
			}); err != nil {
				return err
			}
			return unreadable(segments)
		},
	}
	f.add(command)
	return command
}

// unreadable returns the error of the first file that cannot be described, nil if none.
func unreadable(segments []verify.Info) error {
	for i := range segments {
		if e := segments[i].Unreadable; e != nil {
			return errors.New(e.Error()) // hides a permission error, as in verify
		}
		if e := segments[i].Foreign; e != nil {
			return e
		}
	}
	return nil
}

// sums are the totals of segments.
type sums struct {
	segments, sealed, chunks, damaged   int
	entries, events, lost, uncompressed uint64
	bytes                               int64
}

func sum(segments []verify.Info) (s sums) {
	for i := range segments {
		info := &segments[i]
		s.segments++
		if info.Sealed {
			s.sealed++
		}
		s.chunks += info.Chunks
		s.damaged += info.Damaged
		s.entries += info.Entries
		s.events += info.Events
		s.lost += info.Lost
		s.uncompressed += info.Uncompressed
		s.bytes += info.Bytes
	}
	return s
}

// readFindings reads the findings of a log. It skips unreadable parts, which the
// description of the segments counts.
func readFindings(ctx context.Context, directory string) (*findings, error) {
	r, err := logstore.OpenReader(directory, logstore.ReaderOptions{EntryLen: event.Len, Query: logstore.NoticesOnly()})
	var f findings
	if _, none := segment.AsUnreadable(err); none {
		return &f, nil // no segment can be read
	}
	if err != nil {
		return nil, fmt.Errorf("cannot describe log directory %s: %w", directory, err)
	}
	defer r.Close()
	for {
		chunk, err := r.Next(ctx)
		if err == nil {
			f.chunk(&chunk.Header, chunk.Entries, false)
			continue
		}
		var gap *source.GapError
		if err = source.Gap(err); err == io.EOF {
			return &f, nil
		} else if !errors.As(err, &gap) {
			return nil, err
		}
	}
}

func writeInfo(w io.Writer, segments []verify.Info, found *findings, location *time.Location) error {
	const layout = "2006-01-02 15:04:05"
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(table, "FIRST ENTRY\tSTATE\tFROM\tTO\tCHUNKS\tENTRIES\tEVENTS\tLOST\tSIZE\tRATIO\tB/EVENT\t")
	line := func(first, state, from, to string, chunks int, entries, events, lost uint64, bytes int64, uncompressed uint64) {
		ratio, perEvent := "-", "-"
		if bytes > 0 && uncompressed > 0 {
			ratio = fmt.Sprintf("%.1f", float64(uncompressed)/float64(bytes))
		}
		if events > 0 {
			perEvent = fmt.Sprintf("%.2f", float64(bytes)/float64(events))
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%d\t%d\t%d\t%d\t%s\t%s\t%s\t\n",
			first, state, from, to, chunks, entries, events, lost, render.Size(bytes), ratio, perEvent)
	}
	for i := range segments {
		s := &segments[i]
		state := "open"
		if s.Sealed {
			state = "sealed"
		}
		if s.Damaged > 0 {
			state += ", damaged"
		}
		if s.Unreadable != nil {
			line(fmt.Sprint(s.First), "unreadable", "-", "-", 0, 0, 0, 0, s.Bytes, 0)
			continue
		}
		if s.Foreign != nil {
			line(fmt.Sprint(s.First), "foreign", "-", "-", 0, 0, 0, 0, s.Bytes, 0)
			continue
		}
		at := func(ns int64) string { return time.Unix(0, ns).In(location).Format(layout) }
		line(fmt.Sprint(s.First), state, at(s.FirstTime), at(s.LastTime), s.Chunks, s.Entries, s.Events, s.Lost, s.Bytes, s.Uncompressed)
	}
	t := sum(segments)
	line("all", render.Counted(uint64(t.segments), "segment"), "", "", t.chunks, t.entries, t.events, t.lost, t.bytes, t.uncompressed)
	if err := table.Flush(); err != nil {
		return err
	}
	if lines := found.lines(location); lines != nil {
		_, err := io.WriteString(w, "\n"+join(lines...))
		return err
	}
	return nil
}

// segmentJSON is a segment in the JSON form.
type segmentJSON struct {
	Segment      string  `json:"segment"`
	Sealed       bool    `json:"sealed"`
	Boot         string  `json:"boot_id"`
	First        uint64  `json:"first_sequence"`
	Last         uint64  `json:"last_sequence"`
	Start        float64 `json:"start"`
	End          float64 `json:"end"`
	Chunks       int     `json:"chunks"`
	Entries      uint64  `json:"entries"`
	Events       uint64  `json:"events"`
	Lost         uint64  `json:"events_lost"`
	Bytes        int64   `json:"bytes"`
	Uncompressed uint64  `json:"bytes_uncompressed"`
	Damaged      int     `json:"damaged_parts"`
	// Unreadable is the reason why the segment cannot be read; the times are 0 then.
	Unreadable string `json:"unreadable,omitempty"`
	// Foreign is the reason why the file is not a segment of the log.
	Foreign string `json:"foreign,omitempty"`
}

// infoJSON returns an object for each segment, then one with the findings. Times are
// seconds since the Unix epoch, as in the JSON of a query.
func infoJSON(segments []verify.Info, found *findings) (values []any) {
	for i := range segments {
		s := &segments[i]
		reason := ""
		if s.Unreadable != nil {
			reason = s.Unreadable.Err.Error()
		}
		foreign := ""
		if s.Foreign != nil {
			foreign = s.Foreign.Detail
		}
		values = append(values, segmentJSON{
			Segment: filepath.Base(s.Path), Sealed: s.Sealed, Boot: hex.EncodeToString(s.BootID[:]),
			First: s.First, Last: s.Last, Start: float64(s.FirstTime) / 1e9, End: float64(s.LastTime) / 1e9,
			Chunks: s.Chunks, Entries: s.Entries, Events: s.Events, Lost: s.Lost,
			Bytes: s.Bytes, Uncompressed: s.Uncompressed, Damaged: s.Damaged,
			Unreadable: reason, Foreign: foreign,
		})
	}
	return append(values, struct {
		Notices findingsJSON `json:"notices"`
	}{found.json()})
}

// join joins the lines of a report.
func join(lines ...string) string { return strings.Join(lines, "\n") + "\n" }

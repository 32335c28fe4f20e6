// SPDX-License-Identifier: Apache-2.0

package logctl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/logstore/verify"
)

// NewVerifyCommand returns crauctl verify.
func NewVerifyCommand(e *console.Environment) *cobra.Command {
	var f verifyFlags
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check that a log is whole",
		Long: `Verify reads a whole log and checks headers, checksums, the sequence of entry
numbers, and the hash chain over all entries and segments. It reports the first
break: segment, offset and kind.

The torn end that a crash leaves after the last whole chunk of a segment is
reported, but is not a break. Keep the number and hash of the last entry elsewhere:
they reveal whether the whole log was rewritten later.

With --after-cursor and --hash, verify continues an earlier check: it reads only
later entries, and compares the hash that the earlier check printed.

Missing entries at the beginning of a log are not a break if the log records
their removal. Verify lists the newest times without recording, removals and
losses in the log.
` + console.ExitHelp,
		Args: console.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := f.check(e); err != nil {
				return err
			}
			return runVerify(command.Context(), e, &f)
		},
	}
	f.add(command)
	command.Flags().StringVar(&f.afterCursor, "after-cursor", "", "check only the entries after `CURSOR`, which an earlier check printed")
	command.Flags().StringVar(&f.hash, "hash", "", "fail unless the entry of --after-cursor has the hash `HASH`, as the earlier check printed it")
	return command
}

// verifyFlags are the options of crauctl verify.
type verifyFlags struct {
	directoryFlags

	afterCursor, hash string
}

// begin sets the position at which the check begins.
func (f *verifyFlags) begin(o *verify.Options) error {
	if f.afterCursor == "" {
		if f.hash != "" {
			return console.Usagef("--hash needs the cursor that it belongs to: --after-cursor")
		}
		return nil
	}
	reader, err := logstore.OpenReader(f.directory, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		return fmt.Errorf("cannot open log directory %s: %w", f.directory, err)
	}
	defer reader.Close()
	after, err := reader.Resolve(f.afterCursor)
	if err != nil {
		return fmt.Errorf("cannot use cursor of --after-cursor: %w", err)
	}
	o.After = after.Sequence
	if f.hash == "" {
		return nil
	}
	hash, err := hex.DecodeString(f.hash)
	if err != nil || len(hash) != len(o.Hash) {
		return console.Usagef("bad value %q of --hash: it must be %d hexadecimal digits", f.hash, 2*len(o.Hash))
	}
	o.Hash = frame.Hash(hash)
	return nil
}

// errBroken indicates an incomplete or damaged log, which has already been reported.
var errBroken = errors.New("the log is not whole")

func runVerify(ctx context.Context, e *console.Environment, f *verifyFlags) error {
	segments, err := source.Segments(f.directory)
	if err != nil {
		return err
	}
	meter := progress.Start(e, progress.Options{Verb: "Verifying", Unit: progress.Bytes})
	defer meter.Stop()
	var found findings
	options := verify.Options{
		EntryLen: event.Len, Progress: meter.Set,
		Notices: func(segment uint64, h *logstore.Header, entries []byte) {
			found.chunk(h, entries, segment == segments[0])
		},
	}
	if err := f.begin(&options); err != nil {
		return err
	}
	report, err := verify.Store(ctx, f.directory, options)
	meter.Stop()
	if err != nil {
		return fmt.Errorf("cannot verify log directory %s: %w", f.directory, err)
	}
	v := verdict{report, &found}
	err = f.output.Write(e.Stdout, console.Report{
		JSON: []any{v.json()},
		Text: func(w io.Writer) error {
			_, err := io.WriteString(w, v.text(e.Location))
			return err
		},
	})
	if err != nil {
		return err
	}
	switch {
	case report.Break != nil:
		// Not a permission error, even if a file of the log has wrong permissions.
		return fmt.Errorf("%w: %s", errBroken, report.Break.Error())
	case !v.whole():
		return fmt.Errorf("%w: %s", errBroken, found.removals.Sentence(report.Before, e.Location))
	}
	return nil
}

// verdict is the result for a log.
type verdict struct {
	*verify.Report

	findings *findings
}

// whole reports whether the log is intact and has a record of all removals.
func (v verdict) whole() bool { return v.Break == nil && v.findings.recorded(v.Before) }

// cursor returns the cursor after the last checked entry.
func (v verdict) cursor() string {
	return logstore.Cursor{Store: v.Store, Sequence: v.LastSequence}.String()
}

// text formats the report as text.
func (v verdict) text(location *time.Location) string {
	r := v.Report
	verdict := "all is as it should be"
	switch {
	case errors.As(r.Break, new(*segment.UnreadableError)) || errors.As(r.Break, new(*segment.ForeignError)):
		verdict = "what can be read was checked"
	case r.Break != nil:
		verdict = "checked up to the first break"
	case !v.whole():
		verdict = "the beginning is missing"
	}
	lines := []string{
		fmt.Sprintf("%s in %s of %s, with %s: %s", render.Counted(r.Entries, "entry"), render.Counted(uint64(r.Chunks), "chunk"),
			render.Counted(uint64(r.Segments), "segment"), render.Counted(r.Events, "event"), verdict),
		fmt.Sprintf("entries %d to %d, hash of the last %s", r.FirstSequence, r.LastSequence, hex.EncodeToString(r.Hash[:])),
		"cursor after them " + v.cursor(),
	}
	if r.Before > 0 {
		removed := v.findings.removals.Sentence(r.Before, location)
		if v.findings.recorded(r.Before) && !v.findings.removals.Known {
			removed += ": version 0.1.0 kept none"
		}
		lines = append(lines, removed)
	}
	if r.Lost > 0 {
		lines = append(lines, render.Counted(r.Lost, "event")+" lost before they could be recorded, according to the log")
	}
	if r.Jumps > 0 {
		lines = append(lines, "numbers jump after "+render.Counted(uint64(r.Jumps), "crash")+" of the machine, so that none is given twice")
	}
	for _, torn := range r.Torn {
		lines = append(lines, fmt.Sprintf("%s has a torn end at offset %d, %s after its last whole chunk; no entry is missing",
			filepath.Base(torn.Segment), torn.Offset, render.Counted(uint64(torn.Bytes), "byte")))
	}
	for _, e := range r.Unreadable {
		lines = append(lines, e.Error())
	}
	for _, e := range r.Foreign {
		lines = append(lines, e.Error())
	}
	return join(append(lines, v.findings.lines(location)...)...)
}

// reportJSON is the JSON form of a report.
type reportJSON struct {
	Whole         bool       `json:"whole"`
	Segments      int        `json:"segments"`
	Chunks        int        `json:"chunks"`
	Entries       uint64     `json:"entries"`
	Events        uint64     `json:"events"`
	Lost          uint64     `json:"events_lost"`
	Store         string     `json:"store"`
	FirstSequence uint64     `json:"first_sequence"`
	LastSequence  uint64     `json:"last_sequence"`
	Cursor        string     `json:"cursor"`
	Hash          string     `json:"hash"`
	Jumps         int        `json:"jumps"`
	Torn          []tornJSON `json:"torn"`
	// Unreadable are the names of unreadable segments, Foreign of files that are not
	// segments.
	Unreadable []string   `json:"unreadable,omitempty"`
	Foreign    []string   `json:"foreign,omitempty"`
	Break      *breakJSON `json:"break,omitempty"`
	// Before is the last entry before the log's oldest one. Accounted reports whether the
	// log, as far as it can show, records the removal of the entries up to it.
	Before    uint64       `json:"last_sequence_before"`
	Accounted bool         `json:"removal_accounted"`
	Notices   findingsJSON `json:"notices"`
}

type tornJSON struct {
	Segment string `json:"segment"`
	Offset  int64  `json:"offset"`
	Bytes   int64  `json:"bytes"`
}

type breakJSON struct {
	Segment string `json:"segment,omitempty"`
	Offset  int64  `json:"offset"`
	Kind    string `json:"kind"`
	Detail  string `json:"detail"`
}

func (v verdict) json() reportJSON {
	r := v.Report
	j := reportJSON{
		Whole: v.whole(), Before: r.Before, Accounted: v.findings.recorded(r.Before), Notices: v.findings.json(),
		Segments: r.Segments, Chunks: r.Chunks, Entries: r.Entries, Events: r.Events, Lost: r.Lost,
		Store: hex.EncodeToString(r.Store[:]), FirstSequence: r.FirstSequence, LastSequence: r.LastSequence, Cursor: v.cursor(),
		Hash: hex.EncodeToString(r.Hash[:]), Jumps: r.Jumps, Torn: []tornJSON{},
	}
	for _, torn := range r.Torn {
		j.Torn = append(j.Torn, tornJSON{filepath.Base(torn.Segment), torn.Offset, torn.Bytes})
	}
	for _, e := range r.Unreadable {
		j.Unreadable = append(j.Unreadable, filepath.Base(e.Segment))
	}
	for _, e := range r.Foreign {
		j.Foreign = append(j.Foreign, e.Name)
	}
	var corrupt *segment.CorruptError
	var odd *segment.ForeignError
	var unreadable *segment.UnreadableError
	var incompatible *segment.IncompatibleError
	switch {
	case errors.As(r.Break, &unreadable):
		j.Break = &breakJSON{filepath.Base(unreadable.Segment), unreadable.Offset, "unreadable", unreadable.Err.Error()}
	case errors.As(r.Break, &odd):
		j.Break = &breakJSON{odd.Name, 0, "foreign", odd.Detail}
	case errors.As(r.Break, &corrupt):
		j.Break = &breakJSON{filepath.Base(corrupt.Segment), corrupt.Offset, string(corrupt.Kind), corrupt.Detail}
	case errors.As(r.Break, &incompatible):
		j.Break = &breakJSON{filepath.Base(incompatible.Segment), incompatible.Offset, "incompatible", incompatible.Err.Error()}
	case r.Break != nil:
		j.Break = &breakJSON{Kind: "unknown", Detail: r.Break.Error()}
	}
	return j
}

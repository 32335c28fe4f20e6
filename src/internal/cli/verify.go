// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore/segment"
	"crypto-auditing/src/internal/logstore/verify"
)

func newVerifyCommand(e *Environment) *cobra.Command {
	var directory, form string
	command := &cobra.Command{
		Use:   "verify",
		Short: "Check that a log is whole",
		Long: `Verify reads all of a log and checks its headers and checksums, that entries
are numbered without a gap, and the chain of hashes that runs through all of
them, across segments. It names the first break: segment, offset and kind.

The torn end that a crash leaves behind the last whole chunk of a segment is
no break; it is told. The number and hash of the last entry, kept elsewhere,
make it evident if the log is rewritten as a whole later on.
` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := checkInfoFlags(directory, form); err != nil {
				return err
			}
			return runVerify(command.Context(), e, directory, form)
		},
	}
	addInfoFlags(command, &directory, &form)
	return command
}

// errBroken says that a log is not whole, which has been told.
var errBroken = errors.New("the log is not whole")

func runVerify(ctx context.Context, e *Environment, directory, form string) error {
	progress, done := progressOn(e.Stderr)
	report, err := verify.Store(ctx, directory, verify.Options{EntryLen: event.Len, Progress: progress})
	done()
	if err != nil {
		return fmt.Errorf("cannot verify log directory %s: %w", directory, err)
	}
	if form == infoJSON {
		err = writeReportJSON(e.Stdout, report)
	} else {
		_, err = io.WriteString(e.Stdout, reportText(report))
	}
	if err != nil {
		return fmt.Errorf("cannot write output: %w", err)
	}
	if report.Break != nil {
		return fmt.Errorf("%w: %w", errBroken, report.Break)
	}
	return nil
}

// progressOn returns what shows progress, if there is somebody to look at it,
// and what takes it away again.
func progressOn(w io.Writer) (progress func(done, total int64), end func()) {
	if !terminal.Is(w) {
		return nil, func() {}
	}
	shown := int64(-1)
	return func(done, total int64) {
			percent := int64(100)
			if total > 0 {
				percent = int64(float64(done) / float64(total) * 100)
			}
			if percent != shown {
				shown = percent
				fmt.Fprintf(w, "\rVerifying: %d %%", percent)
			}
		}, func() {
			if shown >= 0 {
				fmt.Fprint(w, "\r\x1b[K")
			}
		}
}

func reportText(r *verify.Report) string {
	if r.Chunks == 0 && r.Break == nil {
		return "The log is empty.\n"
	}
	verdict := "all is as it should be"
	if r.Break != nil {
		verdict = "checked up to the first break"
	}
	lines := []string{
		fmt.Sprintf("%s in %s of %s, with %s: %s", render.Counted(r.Entries, "entry"), render.Counted(uint64(r.Chunks), "chunk"),
			render.Counted(uint64(r.Segments), "segment"), render.Counted(r.Events, "event"), verdict),
		fmt.Sprintf("entries %d to %d, hash of the last %s", r.FirstSequence, r.LastSequence, hex.EncodeToString(r.Hash[:])),
	}
	if r.Lost > 0 {
		lines = append(lines, render.Counted(r.Lost, "event")+" lost before they could be recorded, as the log itself says")
	}
	if r.Jumps > 0 {
		lines = append(lines, "numbers jump after "+render.Counted(uint64(r.Jumps), "crash")+" of the machine, so that none is given twice")
	}
	for _, torn := range r.Torn {
		lines = append(lines, fmt.Sprintf("%s ends torn at offset %d, %s behind its last whole chunk; no entry is missing",
			filepath.Base(torn.Segment), torn.Offset, render.Counted(uint64(torn.Bytes), "byte")))
	}
	return join(lines...)
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
	Hash          string     `json:"hash"`
	Jumps         int        `json:"jumps"`
	Torn          []tornJSON `json:"torn"`
	Break         *breakJSON `json:"break,omitempty"`
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

func writeReportJSON(w io.Writer, r *verify.Report) error {
	j := reportJSON{
		Whole: r.Break == nil, Segments: r.Segments, Chunks: r.Chunks, Entries: r.Entries, Events: r.Events, Lost: r.Lost,
		Store: hex.EncodeToString(r.Store[:]), FirstSequence: r.FirstSequence, LastSequence: r.LastSequence,
		Hash: hex.EncodeToString(r.Hash[:]), Jumps: r.Jumps, Torn: []tornJSON{},
	}
	for _, torn := range r.Torn {
		j.Torn = append(j.Torn, tornJSON{filepath.Base(torn.Segment), torn.Offset, torn.Bytes})
	}
	var corrupt *segment.CorruptError
	var incompatible *segment.IncompatibleError
	switch {
	case errors.As(r.Break, &corrupt):
		j.Break = &breakJSON{filepath.Base(corrupt.Segment), corrupt.Offset, string(corrupt.Kind), corrupt.Detail}
	case errors.As(r.Break, &incompatible):
		j.Break = &breakJSON{filepath.Base(incompatible.Segment), incompatible.Offset, "incompatible", incompatible.Err.Error()}
	case r.Break != nil:
		j.Break = &breakJSON{Kind: "unknown", Detail: r.Break.Error()}
	}
	return json.NewEncoder(w).Encode(j)
}

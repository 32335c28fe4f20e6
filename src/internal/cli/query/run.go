// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/cli/terminal"
)

// run reads the log and shows what is selected.
func (q *query) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	leave := func() { cancel(output.ErrLeft) }
	defer terminal.Watch(q.environment.Stdout, leave)()
	q.meter = progress.Start(q.environment, progress.Options{Verb: "Reading", Unit: q.progressUnit(), Quiet: q.quiet || q.follow})
	defer q.meter.Stop()
	out, err := output.Open(q.environment, output.Options{
		Form:  q.form,
		Pager: !q.noPager && !q.follow, PagerEnd: q.pagerEnd, Meter: q.meter, Left: leave,
		Render: render.Options{Registry: q.registry, Location: q.environment.Location, Fields: q.fields, All: q.all, Names: q.names},
	})
	if err != nil {
		return err
	}
	if !q.quiet {
		for _, warning := range q.selection.Warnings() {
			fmt.Fprintln(out.Notes(), "crauctl: warning:", warning)
		}
	}
	var found *gaps
	if len(q.files) > 0 {
		found, err = q.showFiles(ctx, out)
	} else {
		found, err = q.showStore(ctx, out)
	}
	q.meter.Stop()
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), output.ErrLeft) {
		err = output.ErrLeft
	}
	if closeErr := out.Close(ctx); err == nil {
		err = closeErr
	}
	if err != nil && !errors.Is(err, output.ErrLeft) {
		return err
	}
	if q.quiet {
		found.none, found.notes = false, nil
	}
	err = found.report(q.environment.Stderr)
	if err == nil && q.follow && errors.Is(context.Cause(ctx), console.ErrInterrupted) {
		err = context.Canceled
	}
	return err
}

// progressUnit is what the progress of the query is counted in.
func (q *query) progressUnit() progress.Unit {
	if len(q.files) > 0 {
		return progress.Bytes
	}
	return progress.Entries
}

// progressOf returns what shows how far a source was read.
func (q *query) progressOf(src source.Source) func() {
	if q.meter == nil {
		return func() {}
	}
	far := source.ProgressOf(src)
	return func() { q.meter.Set(far()) }
}

// showFiles shows what is selected of log files, one after another.
func (q *query) showFiles(ctx context.Context, out *output.Output) (_ *gaps, err error) {
	src, err := source.OpenFiles(ctx, q.files, q.boot)
	if err != nil {
		return &gaps{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	v, err := q.showFrom(ctx, src, out)
	if err == nil {
		q.explain(v, "")
	}
	return &v.gaps, err
}

// gaps collects what could not be read. It is told when all that could be is
// shown.
type gaps struct {
	none   bool     // nothing was shown
	notes  []string // of what is missing and no failure
	errs   []error
	unsaid int
	failed bool // something was told already
}

// maxGaps bounds the list of what could not be read.
const maxGaps = 20

func (g *gaps) add(gap *source.GapError) {
	switch {
	case len(g.notes)+len(g.errs) >= maxGaps:
		g.unsaid++
		if !gap.Harmless && len(g.errs) == 0 {
			g.errs = append(g.errs, gap)
		}
	case gap.Harmless:
		g.notes = append(g.notes, gap.Error())
	default:
		g.errs = append(g.errs, gap)
	}
}

// prepend adds what could not be read before that of g. A file that is passed
// over is met in each part of the log.
func (g *gaps) prepend(before *gaps) {
	for _, err := range before.errs {
		g.errs = slices.DeleteFunc(g.errs, func(e error) bool {
			var gap *source.GapError
			return errors.As(e, &gap) && gap.Missing.Entries == 0 && e.Error() == err.Error()
		})
	}
	g.notes, g.errs = append(before.notes, g.notes...), append(before.errs, g.errs...)
	g.unsaid += before.unsaid
	for len(g.notes)+len(g.errs) > maxGaps {
		g.unsaid++
		if n := len(g.notes); n > 0 {
			g.notes = g.notes[:n-1]
		} else {
			g.errs = g.errs[:len(g.errs)-1]
		}
	}
}

// report tells what is missing; the error is what makes it a failure.
func (g *gaps) report(w io.Writer) error {
	if g.none {
		fmt.Fprintln(w, "-- No operations --")
	}
	for _, note := range g.notes {
		fmt.Fprintln(w, "crauctl:", note)
	}
	if len(g.errs) == 0 {
		if g.failed {
			return console.ErrReported
		}
		return nil
	}
	for _, err := range g.errs[:len(g.errs)-1] {
		fmt.Fprintln(w, "crauctl:", err)
	}
	if g.unsaid > 0 {
		fmt.Fprintf(w, "crauctl: %d more places of the log could not be read\n", g.unsaid)
	}
	return g.errs[len(g.errs)-1]
}

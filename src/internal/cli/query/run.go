// SPDX-License-Identifier: Apache-2.0

package query

import (
	"context"
	"errors"
	"fmt"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/output"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/query/viewer"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/source"
	"crypto-auditing/src/internal/cli/terminal"
)

// run reads the log and shows the selection.
func (q *query) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := func() { cancel(output.ErrClosed) }
	defer terminal.Watch(q.environment.Stdout, stop)()
	q.meter = progress.Start(q.environment, progress.Options{Verb: "Reading", Unit: q.progressUnit(), Quiet: q.quiet || q.follow})
	defer q.meter.Stop()
	out, err := output.Open(q.environment, output.Options{
		Form:  q.form,
		Pager: !q.noPager && !q.follow, PagerEnd: q.pagerEnd, Meter: q.meter, Closed: stop,
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
	var found *viewer.Gaps
	if len(q.files) > 0 {
		found, err = q.showFiles(ctx, out)
	} else {
		found, err = q.showStore(ctx, out)
	}
	q.meter.Stop()
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), output.ErrClosed) {
		err = output.ErrClosed
	}
	if closeErr := out.Close(ctx); err == nil {
		err = closeErr
	}
	if err != nil && !errors.Is(err, output.ErrClosed) {
		return err
	}
	if q.quiet {
		found.None, found.Notes = false, nil
	}
	err = found.Report(q.environment.Stderr)
	if err == nil && q.follow && errors.Is(context.Cause(ctx), console.ErrInterrupted) {
		err = context.Canceled
	}
	return err
}

// progressUnit is the unit of the query's progress.
func (q *query) progressUnit() progress.Unit {
	if len(q.files) > 0 {
		return progress.Bytes
	}
	return progress.Entries
}

// progressOf returns a function that updates the progress of reading a source.
func (q *query) progressOf(src source.Source) func() {
	if q.meter == nil {
		return func() {}
	}
	far := source.ProgressOf(src)
	return func() { q.meter.Set(far()) }
}

// showFiles shows the selection of log files, one after another.
func (q *query) showFiles(ctx context.Context, out *output.Output) (_ *viewer.Gaps, err error) {
	src, err := source.OpenFiles(ctx, q.files, q.boot)
	if err != nil {
		return &viewer.Gaps{}, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	v, err := q.showFrom(ctx, src, out)
	if err == nil {
		q.explain(v, "")
	}
	return &v.Gaps, err
}

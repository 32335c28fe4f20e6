// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sort"

	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

func escapedName(name string) string { return string(event.AppendEscaped(nil, []byte(name))) }

// run reads the log and shows what is selected.
func (q *query) run(ctx context.Context) error {
	out, err := q.openOutput()
	if err != nil {
		return err
	}
	var found *gaps
	if len(q.files) > 0 {
		found, err = q.showFiles(ctx, out)
	} else {
		found, err = q.showStore(ctx, out)
	}
	if closeErr := out.close(); err == nil {
		err = closeErr
	}
	if err != nil && !errors.Is(err, errLeft) {
		return err
	}
	return found.report(q.environment.Stderr)
}

// showFiles shows what is selected of log files, one after another.
func (q *query) showFiles(ctx context.Context, out *output) (_ *gaps, err error) {
	var c concatenation
	defer func() { err = errors.Join(err, c.close()) }()
	for _, path := range q.files {
		src, err := openFile(path, q.boot)
		if err != nil {
			return &gaps{}, err
		}
		c.sources = append(c.sources, src)
	}
	v, err := q.showFrom(ctx, &c, out)
	return &v.gaps, err
}

// gaps collects what could not be read. It is told when all that could be is
// shown.
type gaps struct {
	notes  []string // of what is missing and no failure
	errs   []error
	unsaid int
	failed bool // something was told already
}

// errTold says that parts of the log could not be read, which has been told.
var errTold = errors.New("parts of the log could not be read")

// maxGaps bounds the list of what could not be read.
const maxGaps = 20

func (g *gaps) add(gap *gapError) {
	switch {
	case len(g.notes)+len(g.errs) >= maxGaps:
		g.unsaid++
		if !gap.harmless && len(g.errs) == 0 {
			g.errs = append(g.errs, gap)
		}
	case gap.harmless:
		g.notes = append(g.notes, gap.Error())
	default:
		g.errs = append(g.errs, gap)
	}
}

// report tells what is missing; the error is what makes it a failure.
func (g *gaps) report(w io.Writer) error {
	for _, note := range g.notes {
		fmt.Fprintln(w, "crauctl:", note)
	}
	if len(g.errs) == 0 {
		if g.failed {
			return errTold
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

// output is where a query writes: standard output, or a pager.
type output struct {
	printer      render.Printer
	wantsEntries bool
	buffer       *bufio.Writer
	pager        *terminal.Pager
	// warnings are held back while a pager has the screen.
	warnings bytes.Buffer
	stderr   io.Writer
}

func (q *query) openOutput() (*output, error) {
	e := q.environment
	o := &output{stderr: e.Stderr}
	options := render.Options{Registry: q.registry, Warnings: e.Stderr, Location: e.Location}
	w := e.Stdout
	if terminal.Is(w) {
		if q.output == "cbor" {
			// Its strings are as they came, and a terminal would act on them.
			return nil, usagef("--output cbor is not for a terminal: write it to a file or a program")
		}
		options.Color = terminal.HasColor(e.getenv)
		if file, ok := w.(*os.File); ok && !q.noPager && !q.follow {
			pager, err := terminal.StartPager(file, e.Lookup)
			if err != nil {
				return nil, err
			}
			if pager != nil {
				o.pager, w, options.Warnings = pager, pager, &o.warnings
			}
		}
	}
	o.buffer = bufio.NewWriterSize(w, 64<<10)
	var err error
	o.printer, o.wantsEntries, err = render.New(q.output, o.buffer, options)
	return o, err
}

// flush writes what is buffered.
func (o *output) flush() error {
	if err := o.buffer.Flush(); err != nil {
		return writeError(err)
	}
	return nil
}

func (o *output) close() error {
	err := o.flush()
	if o.pager != nil {
		if pagerErr := o.pager.Close(); err == nil || errors.Is(err, errLeft) {
			err = errors.Join(pagerErr, err)
		}
		_, _ = o.stderr.Write(o.warnings.Bytes())
	}
	return err
}

// notes is where to say what is no part of the output.
func (o *output) notes() io.Writer {
	if o.pager != nil {
		return &o.warnings
	}
	return o.stderr
}

func writeError(err error) error {
	if terminal.Left(err) {
		return errLeft
	}
	return fmt.Errorf("cannot write output: %w", err)
}

// viewer takes trees and records of losses to the printer: at once, or, if
// not all are shown or in another order, when all are there.
type viewer struct {
	query   *query
	out     *output
	held    []item
	roots   int // among held
	losses  []*render.Loss
	entries map[*schema.Span][]render.Entry
	order   uint64
	gaps    gaps
	window  *window // nil if the log is read from its beginning
	holding bool    // hold what comes
	err     error   // that ended the output
}

// item is a tree or a record of losses.
type item struct {
	root    *schema.Span
	entries []render.Entry
	loss    *render.Loss
}

func newViewer(q *query, out *output) *viewer {
	v := &viewer{query: q, out: out, holding: q.lines >= 0 || q.reverse}
	if out.wantsEntries {
		v.entries = make(map[*schema.Span][]render.Entry)
	}
	return v
}

// read gives the groups of the source to the builder, up to its end or the
// first error that ends it, as that of a done context.
func (v *viewer) read(ctx context.Context, src source, builder *schema.Builder) error {
	var g event.Group
	for n := 0; v.err == nil; n++ {
		if n%256 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		raw, boot, err := src.next(&g)
		var gap *gapError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &gap):
			v.gaps.add(gap)
			continue
		case err != nil:
			return err
		}
		if v.window != nil {
			v.window.see(schema.WallTime(boot, g.Start))
		}
		if g.IsMetadata() {
			v.metadata(&g, boot)
			continue
		}
		span := builder.Add(&g, boot)
		if v.entries != nil && span != nil {
			v.order++
			v.entries[span] = append(v.entries[span], render.Entry{Bytes: bytes.Clone(raw), Boot: boot, Order: v.order})
		}
	}
	return nil
}

// metadata takes the records of losses out of what a log says of itself.
func (v *viewer) metadata(g *event.Group, boot int64) {
	l, ok := g.Loss()
	if !ok {
		return
	}
	loss := &render.Loss{
		Events: l.Events, Hits: l.Hits, Reason: l.Reason, Place: l.Place,
		Start: schema.WallTime(boot, l.Start), End: schema.WallTime(boot, l.End),
	}
	if !v.query.selection.showsLoss(loss) {
		return
	}
	// They wait in the order of their beginning, in which they come mostly.
	i := len(v.losses)
	for i > 0 && v.losses[i-1].Start > loss.Start {
		i--
	}
	v.losses = slices.Insert(v.losses, i, loss)
}

// root takes a complete tree.
func (v *viewer) root(root *schema.Span) {
	if v.err != nil {
		return
	}
	entries := v.takeEntries(root)
	if v.window != nil && !v.window.believes(v.query.registry, root) {
		return
	}
	if !v.query.selection.shows(root) {
		return
	}
	v.lossesBefore(root.Start)
	v.add(item{root: root, entries: entries})
}

// lossesBefore passes on the losses that began before a time.
func (v *viewer) lossesBefore(t int64) {
	for len(v.losses) > 0 && v.losses[0].Start <= t {
		v.add(item{loss: v.losses[0]})
		v.losses = v.losses[1:]
	}
}

// takeEntries returns the entries of a tree in the order of the log.
func (v *viewer) takeEntries(root *schema.Span) []render.Entry {
	if v.entries == nil {
		return nil
	}
	var entries []render.Entry
	root.Walk(func(s *schema.Span) bool {
		entries = append(entries, v.entries[s]...)
		delete(v.entries, s)
		return true
	})
	sort.Slice(entries, func(i, j int) bool { return entries[i].Order < entries[j].Order })
	return entries
}

func (v *viewer) add(i item) {
	if !v.holding {
		v.print(i)
		return
	}
	v.held = append(v.held, i)
	if i.root != nil {
		v.roots++
	}
	// Drop what the newest lines leave no room for, with what precedes it.
	for v.query.lines >= 0 && v.roots > v.query.lines && len(v.held) > 0 {
		if v.held[0].root != nil {
			v.roots--
		}
		v.held[0] = item{}
		v.held = v.held[1:]
	}
}

func (v *viewer) print(i item) {
	if v.err != nil {
		return
	}
	var err error
	if i.root != nil {
		err = v.out.printer.Root(i.root, i.entries)
	} else {
		err = v.out.printer.Loss(i.loss)
	}
	if err != nil {
		v.err = writeError(err)
	}
}

// releaseHeld prints what was held back and holds no longer.
func (v *viewer) releaseHeld() {
	if v.query.reverse {
		for n := len(v.held) - 1; n >= 0; n-- {
			v.print(v.held[n])
		}
	} else {
		for _, i := range v.held {
			v.print(i)
		}
	}
	v.held, v.roots, v.holding = nil, 0, false
}

// finish prints what was held back and ends the output.
func (v *viewer) finish() error {
	v.lossesBefore(math.MaxInt64)
	v.releaseHeld()
	if v.err != nil {
		return v.err
	}
	if err := v.out.printer.Close(); err != nil {
		return writeError(err)
	}
	return nil
}

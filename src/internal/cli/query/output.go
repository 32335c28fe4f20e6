// SPDX-License-Identifier: Apache-2.0

package query

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/schema"
)

// output is where a query writes: standard output, or a pager.
type output struct {
	printer render.Printer
	buffer  *bufio.Writer
	pager   *terminal.Pager
	// warnings are held back while a pager has the screen.
	warnings bytes.Buffer
	stderr   io.Writer
	aside    *aside // nil: items are printed at once
	stuck    bool   // a write does not end
}

// openOutput opens the output. left is called when it is not read any more.
func (q *query) openOutput(left func()) (*output, error) {
	e := q.environment
	o := &output{stderr: q.meter.Writer(e.Stderr)}
	options := render.Options{Registry: q.registry, Warnings: warnings{o}, Location: e.Location, Fields: q.fields, All: q.all, Names: q.names, ASCII: terminal.IsASCII(e.Getenv)}
	w := q.meter.Writer(e.Stdout)
	if terminal.Is(e.Stdout) {
		if q.form.Raw {
			// Its strings are as they came, and a terminal would act on them.
			return nil, console.Usagef("this output form is not for a terminal: write it to a file or a program")
		}
		options.Color = terminal.HasColor(e.Getenv)
		if file, ok := e.Stdout.(*os.File); ok && !q.noPager && !q.follow {
			w = &screen{query: q, out: o, file: file, w: w, left: left}
		}
	}
	o.buffer = bufio.NewWriterSize(w, 64<<10)
	o.printer = q.form.New(o.buffer, options)
	return o, nil
}

// screen is a terminal that is given to a pager when there is something to show:
// until then, it shows the progress.
type screen struct {
	query *query
	out   *output
	file  *os.File
	w     io.Writer
	left  func()
	began bool
}

func (s *screen) Write(b []byte) (int, error) {
	if !s.began {
		s.began = true
		s.query.meter.Stop()
		pager, err := terminal.StartPager(s.file, s.query.environment.Lookup, s.query.pagerEnd, s.left)
		if err != nil {
			return 0, err
		}
		if pager != nil {
			s.out.pager, s.w = pager, pager
		}
	}
	return s.w.Write(b)
}

// warnings writes what is no part of the output.
type warnings struct{ *output }

func (w warnings) Write(b []byte) (int, error) { return w.notes().Write(b) }

// print writes an item, or has it written soon.
func (o *output) print(i item) error {
	if o.aside != nil {
		return o.aside.add(i)
	}
	return o.write(&i)
}

func (o *output) write(i *item) error {
	var err error
	if i.root != nil {
		err = o.printer.Root(i.root, i.entries)
	} else {
		err = o.printer.Notice(i.notice)
	}
	if err != nil {
		return writeError(err)
	}
	return nil
}

// release gives back a tree that is not shown.
func (o *output) release(root *schema.Span) {
	if o.aside != nil {
		o.aside.release(root)
	}
}

// tick has what was printed written, from time to time.
func (o *output) tick() error {
	if o.aside == nil {
		return nil
	}
	return o.aside.tick()
}

// flush writes what is buffered.
func (o *output) flush() error {
	if o.aside != nil {
		return o.aside.flush()
	}
	return o.flushBuffer()
}

func (o *output) flushBuffer() error {
	if err := o.buffer.Flush(); err != nil {
		return writeError(err)
	}
	return nil
}

// finish ends the form.
func (o *output) finish() error {
	if err := o.join(); err != nil {
		return err
	}
	if err := o.printer.Close(); err != nil {
		return writeError(err)
	}
	return nil
}

// join waits until all is printed.
func (o *output) join() error {
	if o.aside == nil {
		return nil
	}
	err := o.aside.close()
	o.stuck, o.aside = o.aside.stuck, nil
	return err
}

// close writes what is left, unless the query was told to end and nobody takes
// it.
func (o *output) close(ctx context.Context) error {
	err := o.join()
	if o.stuck {
		return err
	}
	if !errors.Is(context.Cause(ctx), errLeft) {
		err = errors.Join(err, o.flushBuffer())
	}
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

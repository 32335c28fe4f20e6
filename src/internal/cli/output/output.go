// SPDX-License-Identifier: Apache-2.0

// Package output writes what a query shows: to standard output or a pager, in the
// goroutine of the caller or in one of its own.
package output

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/progress"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/schema"
)

// ErrLeft says that the output is read no longer, which is no failure.
var ErrLeft = errors.New("the output is not read any more")

// Item is a tree or a notice.
type Item struct {
	Root    *schema.Span
	Entries []render.Entry // of the tree, for forms that want them
	Notice  *render.Notice
}

// Options of an Output.
type Options struct {
	Form render.Form
	// Render is what the form needs; terminal and warnings are set by Open.
	Render render.Options
	// Pager shows the output in a pager, if it is on a terminal, PagerEnd the end
	// of it.
	Pager, PagerEnd bool
	// Meter is the progress that makes room for the output, nil if there is none.
	Meter *progress.Meter
	// Left is called when the output is not read any more.
	Left func()
}

// Output is where a query writes: standard output, or a pager. It is for one
// goroutine.
type Output struct {
	printer render.Printer
	buffer  *bufio.Writer
	pager   *terminal.Pager
	// warnings are held back while a pager has the screen.
	warnings bytes.Buffer
	stderr   io.Writer
	aside    *aside // nil: items are printed at once
	stuck    bool   // a write does not end
}

// Open opens the output of a command.
func Open(e *console.Environment, options Options) (*Output, error) {
	o := &Output{stderr: options.Meter.Writer(e.Stderr)}
	r := options.Render
	r.Warnings, r.ASCII = warnings{o}, terminal.IsASCII(e.Getenv)
	w := options.Meter.Writer(e.Stdout)
	if terminal.Is(e.Stdout) {
		if options.Form.Raw {
			// Its strings are as they came, and a terminal would act on them.
			return nil, console.Usagef("this output form is not for a terminal: write it to a file or a program")
		}
		r.Color = terminal.HasColor(e.Getenv)
		if file, ok := e.Stdout.(*os.File); ok && options.Pager {
			w = &screen{options: options, lookup: e.Lookup, out: o, file: file, w: w}
		}
	}
	o.buffer = bufio.NewWriterSize(w, 64<<10)
	o.printer = options.Form.New(o.buffer, r)
	return o, nil
}

// screen is a terminal that is given to a pager when there is something to show:
// until then, it shows the progress.
type screen struct {
	options Options
	lookup  func(string) (string, bool)
	out     *Output
	file    *os.File
	w       io.Writer
	began   bool
}

func (s *screen) Write(b []byte) (int, error) {
	if !s.began {
		s.began = true
		s.options.Meter.Stop()
		pager, err := terminal.StartPager(s.file, s.lookup, s.options.PagerEnd, s.options.Left)
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
type warnings struct{ *Output }

func (w warnings) Write(b []byte) (int, error) { return w.Notes().Write(b) }

// Print writes an item, or has it written soon.
func (o *Output) Print(i Item) error {
	if o.aside != nil {
		return o.aside.add(i)
	}
	return o.write(&i)
}

func (o *Output) write(i *Item) error {
	var err error
	if i.Root != nil {
		err = o.printer.Root(i.Root, i.Entries)
	} else {
		err = o.printer.Notice(i.Notice)
	}
	if err != nil {
		return writeError(err)
	}
	return nil
}

// Release gives back a tree that is not shown.
func (o *Output) Release(root *schema.Span) {
	if o.aside != nil {
		o.aside.release(root)
	}
}

// Tick has what was printed written, from time to time.
func (o *Output) Tick() error {
	if o.aside == nil {
		return nil
	}
	return o.aside.tick()
}

// Flush writes what is buffered.
func (o *Output) Flush() error {
	if o.aside != nil {
		return o.aside.flush()
	}
	return o.flushBuffer()
}

func (o *Output) flushBuffer() error {
	if err := o.buffer.Flush(); err != nil {
		return writeError(err)
	}
	return nil
}

// Finish ends the form.
func (o *Output) Finish() error {
	if err := o.join(); err != nil {
		return err
	}
	if err := o.printer.Close(); err != nil {
		return writeError(err)
	}
	return nil
}

// join waits until all is printed.
func (o *Output) join() error {
	if o.aside == nil {
		return nil
	}
	err := o.aside.close()
	o.stuck, o.aside = o.aside.stuck, nil
	return err
}

// Close writes what is left, unless the query was told to end and nobody takes
// it.
func (o *Output) Close(ctx context.Context) error {
	err := o.join()
	if o.stuck {
		return err
	}
	if !errors.Is(context.Cause(ctx), ErrLeft) {
		err = errors.Join(err, o.flushBuffer())
	}
	if o.pager != nil {
		if pagerErr := o.pager.Close(); err == nil || errors.Is(err, ErrLeft) {
			err = errors.Join(pagerErr, err)
		}
		_, _ = o.stderr.Write(o.warnings.Bytes())
	}
	return err
}

// Notes is where to say what is no part of the output.
func (o *Output) Notes() io.Writer {
	if o.pager != nil {
		return &o.warnings
	}
	return o.stderr
}

// WriteLine writes a line of text after what was printed.
func (o *Output) WriteLine(line string) error {
	if _, err := o.buffer.WriteString(line + "\n"); err != nil {
		return writeError(err)
	}
	return nil
}

func writeError(err error) error {
	if terminal.Left(err) {
		return ErrLeft
	}
	return fmt.Errorf("cannot write output: %w", err)
}

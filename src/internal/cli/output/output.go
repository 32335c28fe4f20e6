// SPDX-License-Identifier: Apache-2.0

// Package output writes the results of a query to standard output or a pager, in the
// caller's goroutine or a separate one.
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

// ErrClosed indicates that the reader of the output has closed it, which is not a failure.
var ErrClosed = errors.New("the reader of the output has ended")

// Item is a tree or a notice.
type Item struct {
	Root    *schema.Span
	Entries []render.Entry // of the tree, for forms that need them
	Notice  *render.Notice
}

// Options of an Output.
type Options struct {
	Form render.Form
	// Render are the options of the form; Open sets terminal and warnings.
	Render render.Options
	// Pager shows the output in a pager if it is a terminal, PagerEnd begins at its
	// end.
	Pager, PagerEnd bool
	// Meter is the progress line to erase before output, nil if there is none.
	Meter *progress.Meter
	// Closed is called when the reader of the output has closed it.
	Closed func()
}

// Output is the output of a query: standard output, or a pager. It must be used by one
// goroutine only.
type Output struct {
	printer render.Printer
	buffer  *bufio.Writer
	pager   *terminal.Pager
	// warnings are buffered while a pager uses the terminal.
	warnings bytes.Buffer
	stderr   io.Writer
	aside    *aside // nil: items are printed synchronously
	stuck    bool   // a write blocks
}

// Open opens the output of a command.
func Open(e *console.Environment, options Options) (*Output, error) {
	o := &Output{stderr: options.Meter.Writer(e.Stderr)}
	r := options.Render
	r.Warnings, r.ASCII = warnings{o}, terminal.IsASCII(e.Getenv)
	w := options.Meter.Writer(e.Stdout)
	if terminal.Is(e.Stdout) {
		if options.Form.Raw {
			// Strings are printed unmodified, and could control a terminal.
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

// screen is a terminal that shows the progress until the first output, and a pager from
// then on.
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
		pager, err := terminal.StartPager(s.file, s.lookup, s.options.PagerEnd, s.options.Closed)
		if err != nil {
			return 0, err
		}
		if pager != nil {
			s.out.pager, s.w = pager, pager
		}
	}
	return s.w.Write(b)
}

// warnings writes messages that are not part of the output.
type warnings struct{ *Output }

func (w warnings) Write(b []byte) (int, error) { return w.Notes().Write(b) }

// Print writes an item, or queues it after PrintAside.
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

// Release releases a tree that is not shown.
func (o *Output) Release(root *schema.Span) {
	if o.aside != nil {
		o.aside.release(root)
	}
}

// Tick writes printed items that have been buffered for long. Call it regularly.
func (o *Output) Tick() error {
	if o.aside == nil {
		return nil
	}
	return o.aside.tick()
}

// Flush writes the buffered output.
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

// Finish completes the form.
func (o *Output) Finish() error {
	if err := o.join(); err != nil {
		return err
	}
	if err := o.printer.Close(); err != nil {
		return writeError(err)
	}
	return nil
}

// join waits until all items are printed.
func (o *Output) join() error {
	if o.aside == nil {
		return nil
	}
	err := o.aside.close()
	o.stuck, o.aside = o.aside.stuck, nil
	return err
}

// Close writes the buffered output, unless the reader has closed the output.
func (o *Output) Close(ctx context.Context) error {
	err := o.join()
	if o.stuck {
		return err
	}
	if !errors.Is(context.Cause(ctx), ErrClosed) {
		err = errors.Join(err, o.flushBuffer())
	}
	if o.pager != nil {
		if pagerErr := o.pager.Close(); err == nil || errors.Is(err, ErrClosed) {
			err = errors.Join(pagerErr, err)
		}
		_, _ = o.stderr.Write(o.warnings.Bytes())
	}
	return err
}

// Notes returns the writer for messages that are not part of the output.
func (o *Output) Notes() io.Writer {
	if o.pager != nil {
		return &o.warnings
	}
	return o.stderr
}

// WriteLine writes a line of text after the printed items.
func (o *Output) WriteLine(line string) error {
	if _, err := o.buffer.WriteString(line + "\n"); err != nil {
		return writeError(err)
	}
	return nil
}

func writeError(err error) error {
	if terminal.OutputClosed(err) {
		return ErrClosed
	}
	return fmt.Errorf("cannot write output: %w", err)
}

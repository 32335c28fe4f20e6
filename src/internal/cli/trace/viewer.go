// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"sync"
	"time"

	"crypto-auditing/src/internal/boottime"
	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/selection"
	"crypto-auditing/src/internal/cli/terminal"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/pipeline/window"
	"crypto-auditing/src/internal/schema"
)

// quiet is the time without an event after which an operation is shown. An operation
// captured at a socket is complete when it is recorded.
const quiet = 400 * time.Millisecond

// maxShown bounds the contexts of operations that are remembered after they were shown.
const maxShown = 16384

// viewer shows recorded operations. Its methods are safe for concurrent use.
type viewer struct {
	mu       sync.Mutex
	boot     int64
	builder  *schema.Builder
	printers []render.Printer
	out      *bufio.Writer
	file     *os.File // nil: standard error
	err      error    // the error that ended the output
	shown    uint64

	// entries are the entries of each span, for forms that need them.
	entries map[*schema.Span][]render.Entry
	order   uint64
	// contexts are of the operations shown last, earlier of previous ones, up to maxShown
	// each. late is the number of groups that arrived after their operation was shown.
	contexts, earlier map[event.ContextID]bool
	late              uint64
	// lost are the losses, summed up by reason; notices are all other notices.
	lost    []event.Loss
	notices []*render.Notice
}

// newViewer opens the output.
func newViewer(e *console.Environment, o *options) (*viewer, error) {
	form, err := render.Forms().Named(o.output)
	if err != nil {
		return nil, err
	}
	registry, err := (&selection.Options{}).Registry(e)
	if err != nil {
		return nil, err
	}
	v := &viewer{boot: e.Now().UnixNano() - int64(boottime.Now())}
	w := e.Stderr
	if o.file != "" {
		if v.file, err = os.Create(o.file); err != nil {
			return nil, fmt.Errorf("cannot open output: %w", err)
		}
		w = v.file
	}
	options := render.Options{Registry: registry, Warnings: e.Stderr, Location: e.Location, Names: o.names, ASCII: terminal.IsASCII(e.Getenv)}
	if terminal.Is(w) {
		if form.Raw {
			return nil, console.Usagef("this output form is not for a terminal: name a file by --output-file")
		}
		options.Color = terminal.HasColor(e.Getenv)
	}
	v.out = bufio.NewWriterSize(w, 64<<10)
	if !o.summarized {
		v.printers = append(v.printers, form.New(v.out, options))
		if form.Entries {
			v.entries = make(map[*schema.Span][]render.Entry)
		}
	}
	if o.summarized || o.summary {
		v.printers = append(v.printers, render.Table(o.summarized && !form.Text).New(v.out, options))
	}
	v.builder = schema.NewBuilder(registry, schema.Options{}, v.root)
	return v, nil
}

// take processes a recorded batch.
func (v *viewer) take(b *window.Batch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	var g event.Group
	for rest := b.Entries; len(rest) > 0; {
		n, err := event.Decode(rest, &g)
		if err != nil {
			v.fail(fmt.Errorf("cannot decode what was recorded: %w", err))
			return
		}
		raw := rest[:n]
		rest = rest[n:]
		if g.IsMetadata() {
			v.builder.Add(&g, v.boot)
			v.metadata(&g, raw)
			continue
		}
		span := v.builder.Add(&g, v.boot)
		if v.entries != nil && span != nil {
			v.order++
			v.entries[span] = append(v.entries[span], render.Entry{Bytes: bytes.Clone(raw), Boot: v.boot, Order: v.order})
		}
	}
}

// metadata processes an entry about the recording itself.
func (v *viewer) metadata(g *event.Group, raw []byte) {
	if l, ok := g.Loss(); ok {
		i := slices.IndexFunc(v.lost, func(o event.Loss) bool { return o.Reason == l.Reason })
		if i < 0 {
			v.lost = append(v.lost, l)
			return
		}
		v.lost[i].Events += l.Events
		v.lost[i].Hits += l.Hits
		v.lost[i].End = max(v.lost[i].End, l.End)
	} else if n, ok := render.NewNotice(g, raw, v.boot); ok {
		v.notices = append(v.notices, n)
	}
}

// root shows a complete operation. The caller holds mu.
func (v *viewer) root(root *schema.Span) {
	var entries []render.Entry
	if v.entries != nil {
		root.Walk(func(s *schema.Span) bool {
			entries = append(entries, v.entries[s]...)
			delete(v.entries, s)
			return true
		})
		sort.Slice(entries, func(i, j int) bool { return entries[i].Order < entries[j].Order })
	}
	// On a busy machine, the values that a socket adds to a handshake of a library may
	// arrive late. They are not an operation.
	if root.Headless && (v.contexts[root.Context] || v.earlier[root.Context]) {
		v.late++
		return
	}
	v.remember(root)
	v.shown++
	for _, p := range v.printers {
		v.fail(p.Root(root, entries))
	}
}

// remember notes the contexts of an operation that is shown.
func (v *viewer) remember(root *schema.Span) {
	root.Walk(func(s *schema.Span) bool {
		if v.contexts == nil || len(v.contexts) >= maxShown {
			v.contexts, v.earlier = make(map[event.ContextID]bool), v.contexts
		}
		v.contexts[s.Context] = true
		return true
	})
}

// missing returns sentences about missing operations and values, without a full stop.
func (v *viewer) missing() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.late == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d groups of values, which came after their operation was shown", v.late)}
}

// fail records the error that ends the output.
func (v *viewer) fail(err error) {
	if err != nil && v.err == nil {
		v.err = err
		v.printers = nil
	}
}

// settle shows the operations that have had no event for the time quiet.
func (v *viewer) settle() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.builder.Flush(v.boot + int64(boottime.Now()) - int64(quiet))
	if v.err == nil {
		v.fail(v.out.Flush())
	}
}

// run calls settle periodically until stop is closed.
func (v *viewer) run(stop <-chan struct{}) {
	tick := time.NewTicker(quiet / 8)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			v.settle()
		}
	}
}

// close shows all remaining operations, and the losses.
func (v *viewer) close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.builder.Close()
	for i := range v.lost {
		raw := event.AppendLoss(nil, &v.lost[i])
		var g event.Group
		if _, err := event.Decode(raw, &g); err == nil {
			if n, ok := render.NewNotice(&g, raw, v.boot); ok {
				v.notices = append(v.notices, n)
			}
		}
	}
	for _, n := range v.notices {
		for _, p := range v.printers {
			v.fail(p.Notice(n))
		}
	}
	for _, p := range v.printers {
		v.fail(p.Close())
	}
	if v.err == nil {
		v.fail(v.out.Flush())
	}
	if v.file != nil {
		v.fail(v.file.Close())
	}
	if v.err != nil && !terminal.OutputClosed(v.err) {
		return fmt.Errorf("cannot write output: %w", v.err)
	}
	return nil
}

// note writes a line about something that was not recorded.
func note(w io.Writer, text string) {
	fmt.Fprintf(w, "crauctl: not seen: %s\n", text)
}

var errNoUser = errors.New("there is no such user")

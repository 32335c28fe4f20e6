// SPDX-License-Identifier: Apache-2.0

// Package progress shows the progress, speed and remaining time of a long task on a
// terminal, like pv(1).
package progress

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/render"
	"crypto-auditing/src/internal/cli/terminal"
)

// Unit is the unit of the amounts that a Meter shows.
type Unit int

// The units.
const (
	Bytes Unit = iota
	Entries
)

// Options of a Meter.
type Options struct {
	// Verb is the first word of the line: "Verifying".
	Verb string
	Unit Unit
	// Quiet disables the line, for the option -q.
	Quiet bool
	// Delay is the time after which the line appears; default 2 s.
	Delay time.Duration
	// Interval is the time between two updates of the line; default 250 ms.
	Interval time.Duration
}

// Meter is a line on standard error with the progress of a task. It appears if the task
// takes longer than Options.Delay, and disappears when other output is written through
// Writer, and at Stop. A nil Meter shows nothing.
//
// The methods are safe for concurrent use; Set never waits for the terminal.
type Meter struct {
	options Options
	screen  io.Writer
	now     func() time.Time
	began   time.Time

	done, total atomic.Int64

	stop    chan struct{}
	stopped sync.WaitGroup

	mu    sync.Mutex // protects the screen and the fields below
	drawn bool
	// hidden is the time until which nothing is drawn, because output is being written
	// to a terminal; partial reports that this output does not end with a newline.
	hidden  time.Time
	partial bool
}

// Start starts a task. The Meter is nil if standard error is not a terminal that can
// erase a line, or with Options.Quiet.
func Start(e *console.Environment, o Options) *Meter {
	if o.Quiet || !terminal.Is(e.Stderr) || e.Getenv("TERM") == "dumb" {
		return nil
	}
	if o.Delay == 0 {
		o.Delay = 2 * time.Second
	}
	if o.Interval == 0 {
		o.Interval = 250 * time.Millisecond
	}
	m := &Meter{options: o, screen: e.Stderr, now: time.Now, began: time.Now(), stop: make(chan struct{})}
	m.stopped.Go(m.run)
	return m
}

// Set reports the progress: done of total, in the unit of the Meter. 0 is an unknown
// total.
func (m *Meter) Set(done, total int64) {
	if m == nil {
		return
	}
	m.total.Store(total)
	m.done.Store(done)
}

// Stop erases the line and ends the Meter. It may be called repeatedly.
func (m *Meter) Stop() {
	if m == nil {
		return
	}
	m.mu.Lock()
	select {
	case <-m.stop:
	default:
		close(m.stop)
	}
	m.mu.Unlock()
	m.stopped.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.erase()
}

// pause is the time for which output to a terminal hides the line.
const pause = time.Second

// Writer returns a writer that erases the line before it writes to w. If w is a
// terminal, the line stays hidden during output.
func (m *Meter) Writer(w io.Writer) io.Writer {
	if m == nil {
		return w
	}
	return &writer{m: m, w: w, terminal: terminal.Is(w)}
}

type writer struct {
	m        *Meter
	w        io.Writer
	terminal bool
}

func (w *writer) Write(b []byte) (int, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	w.m.erase()
	n, err := w.w.Write(b)
	if w.terminal && n > 0 {
		w.m.hidden, w.m.partial = w.m.now().Add(pause), b[n-1] != '\n'
	}
	return n, err
}

// run draws the line periodically.
func (m *Meter) run() {
	delay := time.NewTimer(m.options.Delay)
	defer delay.Stop()
	select {
	case <-m.stop:
		return
	case <-delay.C:
	}
	ticker := time.NewTicker(m.options.Interval)
	defer ticker.Stop()
	for {
		m.draw()
		select {
		case <-m.stop:
			return
		case <-ticker.C:
		}
	}
}

// erase erases the line. The caller holds m.mu.
func (m *Meter) erase() {
	if m.drawn {
		_, _ = io.WriteString(m.screen, "\r\x1b[K")
		m.drawn = false
	}
}

func (m *Meter) draw() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	// A background job must not overwrite the output of the shell.
	if m.partial || now.Before(m.hidden) || !terminal.Foreground(m.screen) {
		return
	}
	text := m.text(now)
	// A wrapped line could not be erased.
	if width := terminal.Width(m.screen); len(text) >= width {
		text = text[:width-1]
	}
	_, err := io.WriteString(m.screen, "\r"+text+"\x1b[K")
	m.drawn = err == nil
}

// text returns the line.
func (m *Meter) text(now time.Time) string {
	done, total := m.done.Load(), m.total.Load()
	rate := float64(done) / max(now.Sub(m.began).Seconds(), 1e-3)
	amount, speed := render.Size(done), render.Size(int64(rate))+"/s"
	whole := render.Size(total)
	if m.options.Unit == Entries {
		amount = render.Counted(uint64(max(done, 0)), "entry")
		whole = render.Counted(uint64(max(total, 0)), "entry")
		speed = render.Grouped(uint64(max(rate, 0))) + "/s"
	}
	if total <= 0 {
		return fmt.Sprintf("%s: %s, %s", m.options.Verb, amount, speed)
	}
	done = min(done, total)
	text := fmt.Sprintf("%s: %d %% of %s, %s", m.options.Verb, int64(float64(done)/float64(total)*100), whole, speed)
	if rate > 0 {
		text += ", " + remaining(time.Duration(float64(total-done)/rate*float64(time.Second))) + " left"
	}
	return text
}

// remaining formats the remaining time in its two largest units.
func remaining(d time.Duration) string {
	seconds := int64((d + time.Second - 1) / time.Second)
	switch {
	case seconds < 60:
		return fmt.Sprintf("%d s", seconds)
	case seconds < 3600:
		return fmt.Sprintf("%d min %d s", seconds/60, seconds%60)
	}
	return fmt.Sprintf("%d h %d min", seconds/3600, seconds/60%60)
}

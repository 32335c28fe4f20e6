// SPDX-License-Identifier: Apache-2.0

package progress_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/cli/progress"
)

// screen is a pseudo-terminal that records the output.
type screen struct {
	*os.File

	mu    sync.Mutex
	shown bytes.Buffer
}

func newScreen(t *testing.T, columns uint16) *screen {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(slave.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}); err != nil {
		t.Fatal(err)
	}
	s := &screen{File: slave}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			s.mu.Lock()
			s.shown.Write(b[:n])
			s.mu.Unlock()
			if err != nil {
				master.Close()
				return
			}
		}
	}()
	t.Cleanup(func() { slave.Close() })
	return s
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shown.String()
}

// wait waits until ok accepts the output.
func (s *screen) wait(t *testing.T, what string, ok func(text string) bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(s.text()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			text := s.text()
			t.Fatalf("%s: …%q", what, text[max(len(text)-200, 0):])
		}
	}
}

func start(t *testing.T, s *screen, o progress.Options) *progress.Meter {
	o.Delay, o.Interval = time.Nanosecond, time.Millisecond
	m := progress.Start(&console.Environment{Stderr: s.File, Lookup: os.LookupEnv}, o)
	t.Cleanup(m.Stop)
	return m
}

const erased = "\r\x1b[K"

func TestProgressHasRateAndRemainingTime(t *testing.T) {
	t.Setenv("TERM", "xterm")
	for name, c := range map[string]struct {
		unit        progress.Unit
		done, total int64
		want        []string
	}{
		"bytes":         {progress.Bytes, 256 << 20, 1 << 30, []string{"Reading: 25 % of 1.0 GiB, ", "iB/s, ", " left"}},
		"entries":       {progress.Entries, 1e6, 4e6, []string{"Reading: 25 % of 4,000,000 entries, ", "/s, ", " left"}},
		"total unknown": {progress.Bytes, 1 << 20, 0, []string{"Reading: 1.0 MiB, ", "iB/s"}},
		"beyond total":  {progress.Bytes, 2 << 20, 1 << 20, []string{"Reading: 100 % of 1.0 MiB, ", " 0 s left"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScreen(t, 132)
			m := start(t, s, progress.Options{Verb: "Reading", Unit: c.unit})
			m.Set(c.done, c.total)
			s.wait(t, "no progress", func(text string) bool {
				for _, want := range c.want {
					if !strings.Contains(text, want) {
						return false
					}
				}
				return true
			})
			m.Stop()
			m.Stop()
			s.wait(t, "not erased", func(text string) bool { return strings.HasSuffix(text, erased) })
		})
	}
}

func TestProgressNeverWrapsALine(t *testing.T) {
	t.Setenv("TERM", "xterm")
	s := newScreen(t, 60)
	start(t, s, progress.Options{Verb: strings.Repeat("Reading ", 20)})
	s.wait(t, "no progress", func(text string) bool { return strings.Count(text, "\r") > 1 })
	if line := strings.Split(s.text(), "\r")[1]; len(strings.TrimSuffix(line, "\x1b[K")) != 59 {
		t.Errorf("line of %d columns on a screen of 60: %q", len(line), line)
	}
}

func TestProgressIsErasedBeforeOutput(t *testing.T) {
	t.Setenv("TERM", "xterm")
	s := newScreen(t, 132)
	m := start(t, s, progress.Options{Verb: "Reading"})
	drawn := func(text string) bool { return strings.HasSuffix(text, "\x1b[K") && strings.Contains(text, "Reading") }
	s.wait(t, "no progress", drawn)
	fmt.Fprint(m.Writer(s.File), "half a line")
	s.wait(t, "not erased before output", func(text string) bool { return strings.HasSuffix(text, erased+"half a line") })
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// When the line on the terminal is complete, output to a file does not delay the
	// progress.
	fmt.Fprint(m.Writer(s.File), "\n")
	fmt.Fprint(m.Writer(file), "x")
	before := len(s.text())
	s.wait(t, "no progress after output", func(text string) bool { return len(text) > before && drawn(text[before:]) })
}

func TestProgressIsForTerminalsOnly(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := newScreen(t, 132)
	for name, c := range map[string]struct {
		file  *os.File
		term  string
		quiet bool
	}{
		"a file":          {file, "xterm", false},
		"a dumb terminal": {s.File, "dumb", false},
		"-q":              {s.File, "xterm", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TERM", c.term)
			m := progress.Start(&console.Environment{Stderr: c.file, Lookup: os.LookupEnv}, progress.Options{Quiet: c.quiet})
			if m != nil {
				t.Error("progress is shown")
			}
			m.Set(1, 2)
			if w := m.Writer(c.file); w != c.file {
				t.Error("Writer returns another writer")
			}
			m.Stop()
		})
	}
}

// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// replacements is the number of replacements of the library.
const replacements = 5

func TestLibraryIsUpgradedUnderLoad(t *testing.T) {
	const path = opt + "/lib/libtls.so"
	m := needMachine(t)
	if err := os.MkdirAll(m.path(opt+"/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, m.path(library), m.path(path))
	a := recording(t, libraries(path))
	load := startLoad(t, a, path)
	fired := 0
	for i := 1; i <= replacements; i++ {
		// As by a package manager: the new file gets its final name when it is
		// complete.
		copyFile(t, a.path(fmt.Sprintf("%s/libreplay%d.so", opt, i)), a.path(path+".new"))
		if err := os.Rename(a.path(path+".new"), a.path(path)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the new file", func() bool {
			return strings.Count(strings.Join(a.journal(t), "\n"), "attached (library="+path) == i+1
		})
		fired += a.replay(t, path, 5)
	}
	fired += load.end(t)
	if recorded, lost := a.stop(t); recorded != fired || lost != 0 {
		t.Errorf("recorded %d of %d hits, lost %d", recorded, fired, lost)
	}
}

func TestAMissingLibraryIsReportedOnce(t *testing.T) {
	const path, missing = opt + "/lib/libssl.so.3", opt + "/lib/libgnutls.so.30"
	m := needMachine(t)
	if err := os.MkdirAll(m.path(opt+"/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	copyFile(t, m.path(library), m.path(path))
	a := recording(t, libraries(path, missing))
	for i := 1; i <= replacements; i++ {
		copyFile(t, a.path(fmt.Sprintf("%s/libreplay%d.so", opt, i)), a.path(path+".new"))
		if err := os.Rename(a.path(path+".new"), a.path(path)); err != nil {
			t.Fatal(err)
		}
		waitFor(t, "the new file", func() bool {
			return strings.Count(strings.Join(a.journal(t), "\n"), "attached (library="+path) == i+1
		})
	}
	// Once at the start, and once by the watcher of the directory.
	if n := strings.Count(strings.Join(a.journal(t), "\n"), "cannot attach to "+missing); n == 0 || n > 2 {
		t.Errorf("the missing library is reported %d times", n)
	}
}

// load is a program that fires continuously, through the file that a library was when the
// program started.
type load struct {
	stop chan struct{}
	done chan struct{}
	hits int
	err  error
}

func startLoad(t *testing.T, a *agent, library string) *load {
	t.Helper()
	command := a.command(opt+"/replay", "--library", library, "--fresh-ids", "--commands", trace)
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	l := &load{stop: make(chan struct{}), done: make(chan struct{})}
	lines := bufio.NewReader(stdout)
	if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, "ready ") {
		t.Fatalf("the publisher printed %q: %v", line, err)
	}
	go func() {
		defer close(l.done)
		for {
			select {
			case <-l.stop:
				stdin.Close()
				l.err = command.Wait()
				return
			case <-time.After(5 * time.Millisecond):
			}
			fmt.Fprintln(stdin, "run 10")
			line, err := lines.ReadString('\n')
			if err != nil {
				l.err = err
				return
			}
			_, hits, _ := strings.Cut(line, " hits ")
			n, err := strconv.Atoi(strings.Fields(hits + " .")[0])
			if err != nil {
				l.err = fmt.Errorf("the publisher printed %q", line)
				return
			}
			l.hits += n
		}
	}()
	return l
}

// end ends the program and returns the number of its hits.
func (l *load) end(t *testing.T) int {
	t.Helper()
	close(l.stop)
	<-l.done
	if l.err != nil || l.hits == 0 {
		t.Fatalf("the load ended after %d hits: %v", l.hits, l.err)
	}
	return l.hits
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o755); err != nil {
		t.Fatal(err)
	}
}

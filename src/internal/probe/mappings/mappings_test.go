// SPDX-License-Identifier: Apache-2.0

package mappings_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"crypto-auditing/src/internal/probe/mappings"
)

// seen collects mappings by the base names of their files.
type seen struct {
	mu    sync.Mutex
	files map[string]mappings.Mapping
}

func (s *seen) add(m mappings.Mapping) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.files == nil {
		s.files = map[string]mappings.Mapping{}
	}
	s.files[m.Path[strings.LastIndexByte(m.Path, '/')+1:]] = m
}

func (s *seen) await(t *testing.T, name string) mappings.Mapping {
	t.Helper()
	for range 1000 {
		s.mu.Lock()
		m, ok := s.files[name]
		s.mu.Unlock()
		if ok {
			return m
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s is not reported, only %v", name, s.files)
	return mappings.Mapping{}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("watching processes needs root")
	}
}

func TestProgramsAndLibrariesOfATreeAreReported(t *testing.T) {
	needRoot(t)
	var s seen
	c := exec.Command("sh", "-c", "(sh -c 'expr 1 + 1 >/dev/null'; sort </dev/null) & wait")
	w, err := mappings.Inherit(c.Start, s.add)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"expr", "sort", "libc.so.6"} {
		m := s.await(t, name)
		info, err := os.Stat(m.Path)
		if err != nil {
			t.Fatal(err)
		}
		if inode := info.Sys().(*syscall.Stat_t).Ino; inode != m.Inode || m.PID <= 0 {
			t.Errorf("%s has the inode %d and is reported as %+v", m.Path, inode, m)
		}
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n := w.Lost(); n > 0 {
		t.Errorf("%d mappings were lost", n)
	}
}

func TestChildrenOfARunningProcessAreReported(t *testing.T) {
	needRoot(t)
	c := exec.Command("sh", "-c", "read x; expr 1 + 1 >/dev/null; read x")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	var s seen
	w, err := mappings.Watch([]int{c.Process.Pid, 1 << 29}, s.add)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := in.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	s.await(t, "expr")
	in.Close()
	_ = c.Wait()
}

func TestFilesLoadedByAnyProcessAreReported(t *testing.T) {
	needRoot(t)
	var s seen
	w, err := mappings.WatchAll(s.add)
	if err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("expr", "1", "+", "1").Run(); err != nil {
		t.Fatal(err)
	}
	s.await(t, "expr")
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

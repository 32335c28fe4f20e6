// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// leased returns a library that consists only of its file.
func leased(t *testing.T, path string) *Library {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &Library{Path: path, open: f}
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAWriterWaitsUntilTheLeaseIsReleased(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, LeaseSignal)
	defer signal.Stop(signals)
	path := writeFile(t, "before")
	l := leased(t, path)
	if err := l.lease(); err != nil {
		t.Fatal(err)
	}
	if l.LeaseError != nil {
		t.Skipf("the file system has no leases: %v", l.LeaseError)
	}
	if l.Changing() {
		t.Error("a file that no program opened is changing")
	}
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	if l.Changing() {
		t.Error("a reader broke the lease")
	}
	opened := make(chan error, 1)
	go func() { opened <- os.WriteFile(path, []byte("after"), 0o644) }()
	select {
	case <-signals:
	case <-time.After(30 * time.Second):
		t.Fatal("the kernel did not break the lease")
	}
	if !l.Changing() {
		t.Error("a file that a writer waits for is not changing")
	}
	select {
	case err := <-opened:
		t.Fatalf("the writer did not wait: %v", err)
	default:
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "before" {
		t.Errorf("while the writer waits the file has %q: %v", b, err)
	}
	l.unlease()
	if err := <-opened; err != nil {
		t.Error(err)
	}
}

func TestAFileOpenForWritingIsNotLeased(t *testing.T) {
	path := writeFile(t, "content")
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	l := leased(t, path)
	if err := l.lease(); !errors.Is(err, ErrChanging) && l.LeaseError == nil {
		t.Errorf("got the error %v, want ErrChanging", err)
	}
}

func TestAChangeIsDetectedWithoutALease(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"size":    func(path string) error { return os.Truncate(path, 3) },
		"content": func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, strings.Repeat("x", 5000))
			l := leased(t, path)
			l.LeaseError = errors.New("none")
			var err error
			if l.version, err = versionOf(l.open); err != nil {
				t.Fatal(err)
			}
			l.pages = pages{file: l.open, changed: l.changed}
			if l.Changing() {
				t.Error("the file is changing before it was changed")
			}
			if _, err := l.pages.ReadAt(make([]byte, 1), 0); err != nil {
				t.Error(err)
			}
			// A rename does not change the content.
			if err := os.Rename(path, path+".renamed"); err != nil {
				t.Fatal(err)
			}
			if l.Changing() {
				t.Error("a rename counts as a change")
			}
			if err := change(path + ".renamed"); err != nil {
				t.Fatal(err)
			}
			if !l.Changing() {
				t.Error("the change is not detected")
			}
			// Pages read before the change remain; no other page may be read.
			if _, err := l.pages.ReadAt(make([]byte, 1), 0); err != nil {
				t.Errorf("a page that was read before: %v", err)
			}
			if _, err := l.pages.ReadAt(make([]byte, 1), 4500); err == nil {
				t.Error("a page of the changed file was read")
			}
		})
	}
}

func TestAFileThatJustChangedIsNotConsideredComplete(t *testing.T) {
	path := writeFile(t, "content")
	l := leased(t, path)
	// A lease on a directory fails like on a file system without leases.
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	l.open = dir
	if err := os.WriteFile(filepath.Join(filepath.Dir(path), "new"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.lease(); err != nil && !errors.Is(err, ErrChanging) {
		t.Errorf("got the error %v, want ErrChanging", err)
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if err := l.lease(); err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatal("a file that does not change any more is still refused")
		}
	}
	if l.LeaseError == nil {
		t.Error("got a lease on a directory")
	}
}

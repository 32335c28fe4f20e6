// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"crypto-auditing/src/internal/event"
)

func TestNamesOfFilesThatMayBecomeLibraries(t *testing.T) {
	l := newLibraries(nil, slog.New(slog.DiscardHandler), []string{"/usr/lib64/libx.so.*"}, false, nil, nil)
	l.linked = map[string]bool{"libreal.so.3.1": true}
	for name, want := range map[string]struct{ temporary, concerns, mayBecome bool }{
		"libx.so.3":              {false, true, true},
		"libx.so.3;692b8f3c":     {true, false, true},
		"libx.so.3;":             {false, true, true},
		"libx.so.3;nothex":       {false, true, true},
		"libx.so.3.dpkg-new":     {true, false, true},
		"libx.so.3.dpkg-tmp":     {true, false, true},
		".libx.so.3.AbCdEf":      {false, false, true},
		"libreal.so.3.1":         {false, true, true},
		"libreal.so.3.1.new":     {false, false, true},
		"libother.so.3;692b8f3c": {true, false, false},
		"libother.so":            {false, false, false},
	} {
		path := filepath.Join("/usr/lib64", name)
		if got := temporary(path); got != want.temporary {
			t.Errorf("%s: temporary is %v", name, got)
		}
		if got := l.concerns(path); got != want.concerns {
			t.Errorf("%s: concerns is %v", name, got)
		}
		if got := l.mayBecome(name); got != want.mayBecome {
			t.Errorf("%s: mayBecome is %v", name, got)
		}
	}
}

// A rename changes what is renamed, so that its time is that of the rename.
func TestWhenAPathWasSwitchedIsBetweenBeforeAndAfter(t *testing.T) {
	// The time of a change is that of the last tick of the kernel's clock.
	const tick = 20_000_000
	dir := t.TempDir()
	library, link := filepath.Join(dir, "libx.so"), filepath.Join(dir, "link.so")
	if err := os.WriteFile(library+".new", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	before := now()
	if err := os.Rename(library+".new", library); err != nil {
		t.Fatal(err)
	}
	if at := switched(library); at+tick < before || at > now() {
		t.Errorf("renamed after %d and before %d, but switched at %d", before, now(), at)
	}
	before = now()
	if err := os.Symlink(library, link); err != nil {
		t.Fatal(err)
	}
	if at := switched(link); at+tick < before || at > now() {
		t.Errorf("linked after %d and before %d, but switched at %d", before, now(), at)
	}
}

func TestTimesWithoutALibraryAreRecordedOnceAndAgainIfTheBatchIsLost(t *testing.T) {
	l := &losses{}
	if l.pending() {
		t.Error("something is pending at the start")
	}
	l.miss(unrecorded{event.LibraryReplaced, "libx.so", []byte{1}, 10, 20})
	b := &batch{}
	l.record(b, 30)
	if l.pending() || b.count != 1 || !b.notice || b.first != 10 || b.last != 20 {
		t.Errorf("the batch is %+v", b)
	}
	again := &batch{}
	l.record(again, 40)
	if !again.empty() {
		t.Error("a time without the library was recorded twice")
	}
	l.untell(b)
	if !l.pending() {
		t.Fatal("a time without the library was forgotten with its batch")
	}
	l.record(again, 40)
	if string(again.entries) != string(b.entries) {
		t.Error("the time without the library has changed")
	}

	// However long the log takes nothing, little waits for it.
	for i := range uint64(2 * maxUnrecorded) {
		l.miss(unrecorded{event.LibraryReplaced, "libx.so", nil, 100 + i, 101 + i})
	}
	if n := len(l.unrecorded); n > maxUnrecorded {
		t.Errorf("%d times wait for the log", n)
	}
	last := uint64(0)
	for _, u := range l.unrecorded {
		last = max(last, u.end)
	}
	if last != 100+2*maxUnrecorded {
		t.Errorf("the last time without the library ends at %d", last)
	}
}

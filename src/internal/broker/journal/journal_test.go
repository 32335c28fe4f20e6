// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"crypto-auditing/src/internal/broker/fault"
	"crypto-auditing/src/internal/broker/filter"
	"crypto-auditing/src/internal/logstore"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func openState(t *testing.T, dir string) (*Journal, bool) {
	t.Helper()
	j, untrusted, err := Open(dir, 0, quiet())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { j.Close() })
	return j, untrusted
}

func at(n uint64) Place {
	return Place{Position: logstore.Cursor{Store: [16]byte{1}, Sequence: n}, Delivered: n, Skipped: 2 * n}
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// contents returns the subscriptions in a journal.
func (j *Journal) contents() map[uint64]Definition {
	all := map[uint64]Definition{}
	for id, d := range j.table {
		all[id] = *d
	}
	return all
}

func definition(id uint64, name string) Definition {
	return Definition{
		ID: id, Name: name, User: 7, Filter: filter.Spec{Scopes: []string{"tls"}, Since: 5}, Batch: 9, Window: time.Second,
		Flow: "acknowledge", Created: 11, Place: at(0),
	}
}

func TestTheJournalKeepsItsRecords(t *testing.T) {
	dir := t.TempDir()
	j, _ := openState(t, dir)
	mustDo(t, j.Define(definition(1, "a")), j.Define(definition(2, "b")), j.Move(1, at(5)), j.Move(2, at(6)), j.Remove(2), j.Move(1, at(7)))
	want := j.contents()
	if want[1].Place != at(7) || len(want) != 1 {
		t.Fatalf("the journal has %+v", want)
	}
	j.Close()
	j, untrusted := openState(t, dir)
	if got := j.contents(); untrusted || !reflect.DeepEqual(got, want) {
		t.Errorf("after reopening: %+v, untrusted %v; want %+v", got, untrusted, want)
	}
	mustDo(t, j.Shutdown(nil, []Handover{{Definition: definition(3, ""), Client: ":1.5@x"}}))
	if err := j.Move(1, at(99)); !errors.Is(err, fault.ErrStopping) {
		t.Errorf("after the shutdown: %v", err)
	}
	j.Close()
	j, _ = openState(t, dir)
	if len(j.handovers) != 1 || j.handovers[0].Client != ":1.5@x" || j.handovers[0].Definition.ID != 3 || !reflect.DeepEqual(j.contents(), want) {
		t.Errorf("handed over: %+v; kept %+v", j.handovers, j.contents())
	}
	j.Close()
	// It is handed over only once.
	if j, _ = openState(t, dir); len(j.handovers) != 0 {
		t.Errorf("handed over again: %+v", j.handovers)
	}
}

func TestTheJournalHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	openState(t, dir)
	if _, _, err := Open(dir, 0, quiet()); err == nil || !strings.Contains(err.Error(), "another broker") {
		t.Errorf("a second owner: %v", err)
	}
}

// history returns a journal file, and its contents after each record.
func history(t *testing.T) (file []byte, ends []int, held []map[uint64]Definition) {
	t.Helper()
	dir := t.TempDir()
	j, _ := openState(t, dir)
	note := func(err error) {
		t.Helper()
		mustDo(t, err)
		info, err := os.Stat(j.path())
		mustDo(t, err)
		ends, held = append(ends, int(info.Size())), append(held, j.contents())
	}
	note(nil)
	note(j.Define(definition(1, "a")))
	note(j.Move(1, at(3)))
	note(j.Define(definition(2, "b")))
	note(j.Move(2, at(4)))
	note(j.Move(1, at(9)))
	note(j.Remove(2))
	note(j.Move(1, at(12)))
	file, err := os.ReadFile(j.path())
	mustDo(t, err)
	return file, ends, held
}

func reopened(t *testing.T, file []byte) (*Journal, bool, string) {
	t.Helper()
	dir := t.TempDir()
	mustDo(t, os.WriteFile(filepath.Join(dir, journalFile), file, 0o600))
	j, untrusted := openState(t, dir)
	return j, untrusted, dir
}

// Wherever the journal is cut off, its complete records remain.
func TestATornJournalKeepsSyncedRecords(t *testing.T) {
	file, ends, held := history(t)
	for cut := headSize; cut <= len(file); cut++ {
		last := 0
		for i, end := range ends {
			if end <= cut {
				last = i
			}
		}
		for _, tail := range [][]byte{nil, make([]byte, 4096)} {
			if tail != nil && cut != ends[last] {
				continue // zeros follow only a complete record
			}
			j, untrusted, _ := reopened(t, append(bytes.Clone(file[:cut]), tail...))
			if got := j.contents(); untrusted || !reflect.DeepEqual(got, held[last]) {
				t.Fatalf("cut at %d with %d zeros: %+v, untrusted %v; want %+v", cut, len(tail), got, untrusted, held[last])
			}
			j.Close()
		}
	}
}

// Whatever byte is damaged, the file is kept, and positions are only trusted if they are
// unchanged.
func TestADamagedJournalIsSetAside(t *testing.T) {
	file, _, held := history(t)
	want := held[len(held)-1]
	for at := range file {
		damaged := bytes.Clone(file)
		damaged[at] ^= 0x41
		j, untrusted, dir := reopened(t, damaged)
		aside, err := filepath.Glob(filepath.Join(dir, journalFile+".damaged-*"))
		mustDo(t, err)
		if untrusted != (len(aside) == 1) {
			t.Fatalf("byte %d: untrusted %v, but set aside: %v", at, untrusted, aside)
		}
		if untrusted {
			kept, err := os.ReadFile(aside[0])
			if err != nil || !bytes.Equal(kept, damaged) {
				t.Fatalf("byte %d: another file was set aside (%v)", at, err)
			}
		}
		// The reserved bytes of the head are ignored. A length beyond the end looks like a
		// torn record, which never became durable: the journal then has earlier positions.
		if !untrusted && !reflect.DeepEqual(j.contents(), want) && !isLength(file, at) {
			t.Fatalf("byte %d: trusted, and holds %+v", at, j.contents())
		}
		mustDo(t, j.Define(definition(9, "new")))
		j.Close()
	}
}

// isLength reports whether a byte belongs to the length of a record.
func isLength(file []byte, at int) bool {
	for begin := headSize; begin < len(file); {
		if at >= begin && at < begin+4 {
			return true
		}
		begin += recordHead + int(file[begin]) + int(file[begin+1])<<8
	}
	return false
}

func FuzzJournal(f *testing.F) {
	f.Add([]byte(journalName + "\x01\x00\x00\x00\x00\x00\x00\x00"))
	f.Add([]byte(journalName + "\x01\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x01\xa0\xa0\xa0\xa0"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, file []byte) {
		j, _, dir := reopened(t, file)
		mustDo(t, j.Define(definition(1, "a")), j.Move(1, at(4)))
		want := j.contents()
		j.Close()
		j, untrusted := openState(t, dir)
		if untrusted || !reflect.DeepEqual(j.contents(), want) {
			t.Errorf("untrusted %v, %+v; want %+v", untrusted, j.contents(), want)
		}
	})
}

// One sync serves all calls that arrive during the previous one, and each caller's record is on disk when
// its call returns.
func TestOneSyncServesAllWaitingCalls(t *testing.T) {
	dir := t.TempDir()
	j, _ := openState(t, dir)
	syncs := 0
	real := j.sync
	j.sync = func(f *os.File) error {
		syncs++
		time.Sleep(2 * time.Millisecond)
		return real(f)
	}
	const subscribers, moves = 50, 20
	for id := range uint64(subscribers) {
		mustDo(t, j.Define(definition(id, "x")))
	}
	syncs = 0
	var all sync.WaitGroup
	for id := range uint64(subscribers) {
		all.Go(func() {
			for n := range uint64(moves) {
				if err := j.Move(id, at(n+1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if syncs > subscribers*moves/4 {
		t.Errorf("%d syncs for %d moves", syncs, subscribers*moves)
	}
	want := j.contents()
	j.Close()
	j, _ = openState(t, dir)
	if got := j.contents(); !reflect.DeepEqual(got, want) || got[7].Place != at(moves) {
		t.Errorf("after reopening: %+v", got[7])
	}
}

// A failing disk loses no durable position, and the journal recovers with the disk.
func TestAFailingDiskLosesNoDurablePosition(t *testing.T) {
	dir := t.TempDir()
	j, _ := openState(t, dir)
	r := rand.New(rand.NewPCG(1, 2))
	failing := errors.New("the disk fails")
	real := j.sync
	j.sync = func(f *os.File) error {
		if r.IntN(3) == 0 {
			return failing
		}
		return real(f)
	}
	promised := map[uint64]Place{}
	for n := range uint64(300) {
		id := n % 5
		var err error
		if _, defined := promised[id]; !defined {
			d := definition(id, "x")
			d.Place = at(n)
			err = j.Define(d)
		} else {
			err = j.Move(id, at(n))
		}
		if err == nil {
			promised[id] = at(n)
		} else if !errors.Is(err, failing) {
			t.Fatal(err)
		}
	}
	j.Close()
	j, untrusted := openState(t, dir)
	got := map[uint64]Place{}
	for id, d := range j.contents() {
		got[id] = d.Place
	}
	if untrusted || len(promised) != 5 {
		t.Fatalf("untrusted %v, promised %v", untrusted, promised)
	}
	for id, p := range promised {
		// Failed writes may have reached the disk, but no position is older than promised.
		if got[id].Position.Sequence < p.Position.Sequence {
			t.Errorf("subscription %d is at %v, promised %v", id, got[id], p)
		}
	}
	if !maps.EqualFunc(got, promised, func(a, b Place) bool { return a.Position.Sequence >= b.Position.Sequence }) {
		t.Errorf("got %v, promised %v", got, promised)
	}
}

func TestALongJournalIsRewritten(t *testing.T) {
	dir := t.TempDir()
	j, _ := openState(t, dir)
	j.sync = func(*os.File) error { return nil } // many syncs would take long
	mustDo(t, j.Define(definition(1, "a")))
	for n := range uint64(40_000) {
		mustDo(t, j.Move(1, at(n)))
	}
	info, err := os.Stat(j.path())
	if err != nil || info.Size() > rewriteAbove+maxRecord {
		t.Errorf("%d bytes after 40,000 moves, %v", info.Size(), err)
	}
	j.Close()
	if j, _ = openState(t, dir); j.contents()[1].Place != at(39_999) {
		t.Errorf("the journal has %+v", j.contents())
	}
}

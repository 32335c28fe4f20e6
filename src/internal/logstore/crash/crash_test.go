// SPDX-License-Identifier: Apache-2.0

// Package crash kills a real writer at random moments and checks the log with a program
// that shares no code with it.
package crash

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/file"
)

// asWriter is the environment variable that makes this program the writer:
// DIRECTORY NUMBER io_uring|pwrite.
const asWriter = "CRASH_TEST_WRITER"

func TestMain(m *testing.M) {
	if arguments := os.Getenv(asWriter); arguments != "" {
		if err := write(strings.Fields(arguments)); err != nil {
			fmt.Fprintln(os.Stderr, "writer:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

var rounds = flag.Int("rounds", 200, "how often the writer is killed")

// roundsPerStore is the number of rounds in one store.
const roundsPerStore = 8

func TestKilledWriterLosesNothingDurable(t *testing.T) {
	for _, tool := range []string{"python3", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the checker needs %s: %v", tool, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if testing.Short() {
		*rounds /= 10
	}
	promises, torn := 0, 0
	var dir string
	next := 0
	for round := range *rounds {
		if round%roundsPerStore == 0 {
			dir, next = filepath.Join(t.TempDir(), fmt.Sprint("log", round)), 0
		}
		promised := dir + ".promised"
		system := []string{"io_uring", "pwrite"}[round%2]
		writer := exec.Command(self)
		writer.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", asWriter, dir, next, system))
		promises += kill(t, writer, promised)
		last, notes := check(t, dir, promised)
		if t.Failed() {
			t.Fatalf("round %d (%s): %s", round, system, notes)
		}
		torn += strings.Count(notes, ": torn at")
		next = last + 1
	}
	t.Logf("%d kills, %d promises kept, %d torn ends", *rounds, promises, torn)
	if promises == 0 {
		t.Error("the writer never promised anything")
	}
}

// kill runs the writer for a random time, and appends its promises to a file. It
// returns their number.
func kill(t *testing.T, command *exec.Cmd, promised string) int {
	t.Helper()
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	// One in four is killed while it starts, the others some time after their first
	// promise.
	var lines []byte
	if rand.IntN(4) > 0 {
		lines = make([]byte, 1)
		if _, err := io.ReadFull(out, lines); err != nil {
			t.Fatalf("the writer promised nothing: %v: %s", err, stderr.String())
		}
	}
	timer := time.AfterFunc(time.Duration(rand.IntN(40_000))*time.Microsecond, func() { _ = command.Process.Kill() })
	defer timer.Stop()
	rest, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	lines = append(lines, rest...)
	if err := command.Wait(); err == nil || command.ProcessState.Exited() {
		t.Fatalf("the writer exited: %v: %s", err, stderr.String())
	}
	f, err := os.OpenFile(promised, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	// A torn line does not count as a promise.
	whole := lines[:bytes.LastIndexByte(lines, '\n')+1]
	if _, err := f.Write(whole); err != nil {
		t.Fatal(err)
	}
	return bytes.Count(whole, []byte("\n"))
}

// check runs the checker and returns the last number in the log and the checker's
// output.
func check(t *testing.T, dir, promised string) (last int, notes string) {
	t.Helper()
	if _, err := os.Stat(dir); err != nil {
		return -1, "" // killed before it created the directory
	}
	command := exec.Command("python3", "../../../../tests/crash/check.py", dir, promised)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Errorf("check: %v", err)
		return -1, stderr.String()
	}
	last, err = strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Error(err)
	}
	return last, stderr.String()
}

// write appends numbered entries to a store until it is killed, and prints a line
// "SEQUENCE NUMBER" for each entry that the store reported as durable.
func write(arguments []string) error {
	if len(arguments) != 3 {
		return errors.New("DIRECTORY NUMBER io_uring|pwrite are needed")
	}
	number, err := strconv.Atoi(arguments[1])
	if err != nil {
		return err
	}
	files := map[string]file.System{"io_uring": file.Uring{}, "pwrite": file.Plain{}}[arguments[2]]
	w, err := logstore.Open(context.Background(), arguments[0], logstore.Options{
		EntryLen:    event.Len,
		Metadata:    func(now logstore.Moment) []byte { return event.AppendMetadata(nil, now.Offset/1e9, now.Boot) },
		Files:       files,
		SegmentSize: 16 << 10,
	})
	if err != nil {
		return err
	}
	go w.Maintain(context.Background(), time.Hour, nil, nil, func(logstore.Maintenance) {})
	out := bufio.NewWriter(os.Stdout)
	var promised []string
	for {
		n := 1 + rand.IntN(20)
		padding := 100
		if rand.IntN(300) == 0 {
			// A write long enough for a kill to tear.
			n, padding = 10, 60_000
		}
		p, err := w.Append(batch(number, n, padding))
		if err != nil {
			return err
		}
		for i := range n {
			promised = append(promised, fmt.Sprintf("%d %d\n", p.First+uint64(i), number+i))
		}
		number += n
		switch rand.IntN(20) {
		case 0:
			if err := rotate(w); err != nil {
				return err
			}
		case 1, 2, 3, 4, 5:
			if _, err := w.Flush(); err != nil {
				return err
			}
			for _, line := range promised {
				_, _ = out.WriteString(line)
			}
			promised = promised[:0]
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// batch makes n entries that contain number, number+1, and so on, and less than padding
// bytes of padding.
func batch(number, n, padding int) logstore.Batch {
	now := logstore.SystemClock{}.Now().Boot
	b := logstore.Batch{Events: uint32(n), First: now, Last: now}
	name := []byte("crash::test")
	b.Terms = append(b.Terms, logstore.TermHash(logstore.Name, name), logstore.TermHash(logstore.Key, "crash::number"),
		logstore.TermHash(logstore.Key, "crash::padding"))
	for i := range n {
		b.Entries = event.Append(b.Entries, &event.Group{
			Context: event.ContextID{1}, Start: now, End: now, Name: name,
			Events: []event.Event{
				{Key: []byte("crash::number"), Value: event.Value{Word: int64(number + i)}},
				{Key: []byte("crash::padding"), Value: event.Value{Kind: event.Blob, Bytes: noise(rand.IntN(padding))}},
			},
		})
		b.End()
	}
	return b
}

// rotate begins a segment and waits until it is durable.
func rotate(w *logstore.Writer) error {
	rotated := make(chan error, 1)
	w.Rotate(func(_ string, err error) { rotated <- err })
	return <-rotated
}

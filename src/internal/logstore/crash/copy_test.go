// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// copies is the number of directories that are copied while they are written.
const copies = 6

// A backup program copies files one after the other, and each in pieces, while
// segments grow, end, are sealed and removed.
func TestATornCopyOfALiveLogHasAllDurableEntries(t *testing.T) {
	for _, tool := range []string{"python3", "zstd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the checker needs %s: %v", tool, err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	rounds := copies
	if testing.Short() {
		rounds /= 3
	}
	torn, entries := 0, 0
	for round := range rounds {
		dir, copied := filepath.Join(t.TempDir(), "log"), filepath.Join(t.TempDir(), "copy")
		system := []string{"io_uring", "pwrite"}[round%2]
		writer := exec.Command(self)
		writer.Env = append(os.Environ(), fmt.Sprintf("%s=%s 0 %s", asWriter, dir, system))
		promised := copyLive(t, writer, dir, copied)

		// Compare the entries that the other program and our reader find.
		last, notes := check(t, copied, promised)
		want := dump(t, copied)
		got := numbers(t, copied)
		if !maps.Equal(got, want) {
			t.Errorf("our reader finds %d entries, the other %d: %v and %v", len(got), len(want), got, want)
		}
		torn += strings.Count(notes, ": torn at")
		entries += len(got)

		// An agent can continue a restored copy.
		restarted := exec.Command(self)
		restarted.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", asWriter, copied, last+1, system))
		kill(t, restarted, promised)
		_, more := check(t, copied, promised)
		if t.Failed() {
			t.Fatalf("round %d (%s): %s%s", round, system, notes, more)
		}
	}
	t.Logf("%d copies with %d entries, %d of them torn", rounds, entries, torn)
}

// copyLive runs a writer, copies its directory meanwhile, and kills it. It returns a file
// with the promises from before the copy.
func copyLive(t *testing.T, writer *exec.Cmd, dir, copied string) (promised string) {
	t.Helper()
	var stderr bytes.Buffer
	writer.Stderr = &stderr
	out, err := writer.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := writer.Start(); err != nil {
		t.Fatal(err)
	}
	var lines strings.Builder
	scanner := bufio.NewScanner(out)
	for range 1 + rand.IntN(400) {
		if !scanner.Scan() {
			t.Fatalf("the writer has exited: %v: %s", scanner.Err(), stderr.String())
		}
		fmt.Fprintln(&lines, scanner.Text())
	}
	go io.Copy(io.Discard, out) // it continues
	copyDirectory(t, copied, dir)
	_ = writer.Process.Kill()
	if err := writer.Wait(); writer.ProcessState.Exited() {
		t.Fatalf("the writer exited: %v: %s", err, stderr.String())
	}
	promised = copied + ".promised"
	if err := os.WriteFile(promised, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return promised
}

// copyDirectory copies the files of a directory, in any order, in pieces of any
// size. The newest segment is torn somewhere after its size at the beginning.
func copyDirectory(t *testing.T, to, from string) {
	t.Helper()
	if err := os.Mkdir(to, 0o700); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	sizes, newest := map[string]int64{}, ""
	for _, entry := range list {
		if info, err := entry.Info(); err == nil && strings.HasPrefix(entry.Name(), "audit-") {
			sizes[entry.Name()], newest = info.Size(), max(newest, entry.Name())
		}
	}
	rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	for _, entry := range list {
		source, err := os.Open(filepath.Join(from, entry.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, or renamed to its final name
		}
		if err != nil {
			t.Fatal(err)
		}
		destination, err := os.Create(filepath.Join(to, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		// The newest segment may be complete, and not grow any more.
		for range 500 {
			if info, err := source.Stat(); err != nil || entry.Name() != newest || info.Size() > sizes[newest] {
				break
			}
			time.Sleep(time.Millisecond)
		}
		for size := int64(0); err == nil; {
			var n int64
			n, err = io.CopyN(destination, source, 1+rand.Int64N(1000))
			if size += n; entry.Name() == newest && size > sizes[newest] && rand.IntN(2) == 0 {
				err = io.EOF
			}
		}
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		source.Close()
		if err := destination.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// dump returns the numbers in a log by their sequences, as read by the other program.
func dump(t *testing.T, dir string) map[uint64]int64 {
	t.Helper()
	output, err := exec.Command("python3", "../../../../tests/readlog.py", dir).Output()
	if err != nil {
		t.Errorf("readlog.py: %v", err)
	}
	found := map[uint64]int64{}
	for line := range bytes.Lines(output) {
		var entry struct {
			Seq   uint64
			Group struct {
				Events []struct {
					Data struct {
						Key   string
						Value any
					}
				}
			}
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatal(err)
		}
		for _, e := range entry.Group.Events {
			if number, ok := e.Data.Value.(float64); ok && e.Data.Key == "crash::number" {
				found[entry.Seq] = int64(number)
			}
		}
	}
	return found
}

// numbers returns the numbers in a log by their sequences, as read by our reader.
func numbers(t *testing.T, dir string) map[uint64]int64 {
	t.Helper()
	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	found := map[uint64]int64{}
	var g event.Group
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			// The torn end, which the other program does not read either.
			var torn *logstore.CorruptError
			if !errors.As(err, &torn) || torn.To != 0 {
				t.Fatal(err)
			}
			continue
		}
		for sequence, entry := range chunk.All() {
			if _, err := event.Decode(entry, &g); err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(g.Events, func(e event.Event) bool { return string(e.Key) == "crash::number" })
			if i >= 0 {
				found[sequence] = g.Events[i].Value.Word
			}
		}
	}
}

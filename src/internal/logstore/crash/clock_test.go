// SPDX-License-Identifier: Apache-2.0

package crash

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// In a container that was moved, or in another time namespace (time_namespaces(7)), the
// clock of the records has jumped within one boot. The log stays intact, and readers show
// the correct wall-clock times.
func TestAClockThatJumpsBetweenKillsKeepsTheLogAndItsTimes(t *testing.T) {
	for _, tool := range []string{"python3", "zstd", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this needs %s: %v", tool, err)
		}
	}
	if output, err := exec.Command("unshare", "-T", "--boottime", "1", "true").CombinedOutput(); err != nil {
		if os.Geteuid() == 0 {
			t.Skipf("root cannot create a time namespace here: %s", output)
		}
		t.Skip("only root can create a time namespace")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var boot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &boot); err != nil {
		t.Fatal(err)
	}
	const year = 365 * 24 * 3600
	dir := filepath.Join(t.TempDir(), "log")
	promised := dir + ".promised"
	next := 0
	began := time.Now().Add(-time.Second)
	for round, seconds := range []int64{0, 10 * year, 60, -boot.Sec + 1, 0, year, 3600} {
		writer := exec.Command("unshare", "-T", "--boottime", fmt.Sprint(seconds), "--monotonic", fmt.Sprint(seconds), "--fork", "--kill-child", self)
		writer.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", asWriter, dir, next, []string{"io_uring", "pwrite"}[round%2]))
		kill(t, writer, promised)
		last, notes := check(t, dir, promised)
		if t.Failed() {
			t.Fatalf("round %d, the clock %d s ahead: %s", round, seconds, notes)
		}
		next = last + 1
	}
	ended := time.Now().Add(time.Second)

	r, err := logstore.OpenReader(dir, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var g event.Group
	entries := 0
	for {
		chunk, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		var torn *logstore.CorruptError
		if errors.As(err, &torn) {
			continue // by a kill; checked above
		}
		if err != nil {
			t.Fatal(err)
		}
		for sequence, entry := range chunk.All() {
			if _, err := event.Decode(entry, &g); err != nil {
				t.Fatal(err)
			}
			if at := time.Unix(0, chunk.RealTime(g.Start)); at.Before(began) || at.After(ended) {
				t.Fatalf("entry %d, written between %v and %v, is shown at %v", sequence, began, ended, at)
			}
			entries++
		}
	}
	if entries == 0 {
		t.Error("the log is empty")
	}
	t.Logf("%d entries", entries)
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/tests/machine"
)

// image makes a file with a small journaling file system.
func image(t *testing.T) string {
	t.Helper()
	needRecording(t)
	if !machine.Capable(machine.CapSysAdmin) {
		t.Skip("mounting a file system needs CAP_SYS_ADMIN")
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		t.Skip("this machine has no loop devices")
	}
	needCommand(t, "/sbin/mke2fs")
	file := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, 64<<20); err != nil {
		t.Fatal(err)
	}
	command(t, "/sbin/mke2fs", "-q", "-t", "ext4", file)
	return file
}

// command runs a program, which must succeed.
func command(t *testing.T, arguments ...string) {
	t.Helper()
	if output, err := exec.Command(arguments[0], arguments[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", arguments, err, output)
	}
}

// readByOther reads a log with tests/readlog.py, which must find no error.
func readByOther(t *testing.T, log string) {
	t.Helper()
	needCommand(t, "python3")
	needCommand(t, "zstd")
	command(t, "python3", filepath.Join(built.root, "tests/readlog.py"), "-q", log)
}

// A kernel that cannot write the journal of a file system makes it read-only, including all
// open files.
func TestLossesOnAReadOnlyFileSystemAreCounted(t *testing.T) {
	file, disk := image(t), t.TempDir()
	mounted := false
	mount := func() {
		t.Helper()
		command(t, "mount", "-o", "loop", file, disk)
		mounted = true
	}
	unmount := func() {
		t.Helper()
		command(t, "umount", disk)
		mounted = false
	}
	t.Cleanup(func() {
		if mounted {
			_ = exec.Command("umount", "--lazy", disk).Run()
		}
	})
	mount()
	replay := func() number {
		t.Helper()
		return publish(t, "replay", "--library", publisher("libreplay.so"), "--fresh-ids", "--count", "20", trace("gnutls-tls13-p256")).done
	}
	s := setup{libraries: []string{publisher("libreplay.so")}, log: filepath.Join(disk, "log")}
	a, socket := startListening(t, s)
	before := replay()
	crauctl(t, "flush", "--socket", socket)

	command(t, "mount", "-o", "remount,abort", disk)
	fired := before
	fired.add(replay())
	// The agent continues, keeps the unwritten data in memory, and reports the failure.
	waitFor(t, "the agent to report the failure", func() bool {
		status, err := exec.Command(program("crauctl"), "status", "--socket", socket).Output()
		return err == nil && strings.Contains(string(status), "Trouble") && strings.Contains(string(status), "read-only file system")
	})
	fired.add(replay())
	if status := a.terminate(t, patience); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	result := a.totals(t)
	accounted := result.recorded
	accounted.add(result.sum())
	if accounted != fired || result.recorded.hits < before.hits || result.sum().hits == 0 {
		t.Errorf("fired %+v, of which %+v were durable before the failure; recorded %+v, lost %+v", fired, before, result.recorded, result.lost)
	}

	// The kernel replays the journal, and the agent continues the log. A copy is mounted,
	// because a mount namespace that was made meanwhile may still have the original
	// mounted, which would keep it read-only.
	unmount()
	repaired := filepath.Join(t.TempDir(), "image")
	command(t, "cp", "--sparse=always", file, repaired)
	file = repaired
	mount()
	readByOther(t, s.log)
	if n := countEvents(readSegments(t, s.log, decompressWhole)); n < before.events || n > result.recorded.events {
		t.Errorf("the log holds %d events; %d were durable, %d recorded", n, before.events, result.recorded.events)
	}
	kept := countEvents(readSegments(t, s.log, decompressWhole))
	second := startAgent(t, s)
	after := replay()
	if result := second.stop(t, patience); result.recorded != after || len(result.lost) != 0 {
		t.Errorf("after the repair: recorded %+v of %+v, lost %+v", result.recorded, after, result.lost)
	}
	readByOther(t, s.log)
	if n := countEvents(readSegments(t, s.log, decompressWhole)); n != kept+after.events {
		t.Errorf("the log holds %d events, want %d", n, kept+after.events)
	}
	unmount()
}

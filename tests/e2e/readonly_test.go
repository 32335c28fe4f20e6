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

// image makes a file with a small file system that has a journal.
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

// command runs a program that must succeed.
func command(t *testing.T, arguments ...string) {
	t.Helper()
	if output, err := exec.Command(arguments[0], arguments[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", arguments, err, output)
	}
}

// readByOther reads a log by tests/readlog.py, which must find nothing wrong.
func readByOther(t *testing.T, log string) {
	t.Helper()
	needCommand(t, "python3")
	needCommand(t, "zstd")
	command(t, "python3", filepath.Join(built.root, "tests/readlog.py"), "-q", log)
}

// A kernel that cannot write the journal of a file system makes it read-only, with
// all that is open.
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
	a, socket := asked(t, s)
	before := replay()
	crauctl(t, "flush", "--socket", socket)

	command(t, "mount", "-o", "remount,abort", disk)
	fired := before
	fired.add(replay())
	// It continues, and reports the failure. Data that it cannot write wait in memory.
	waitFor(t, "the agent to report it", func() bool {
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
		t.Errorf("fired %+v, %+v of them durably before; recorded %+v, lost %+v", fired, before, result.recorded, result.lost)
	}

	// The journal is replayed, and the log continues. A mount namespace that was made
	// meanwhile may still have the file system, and would keep it read-only: of a copy it
	// has none.
	unmount()
	healed := filepath.Join(t.TempDir(), "image")
	command(t, "cp", "--sparse=always", file, healed)
	file = healed
	mount()
	readByOther(t, s.log)
	if n := countEvents(readSegments(t, s.log, decompressWhole)); n < before.events || n > result.recorded.events {
		t.Errorf("the log holds %d events; %d were durable, %d recorded", n, before.events, result.recorded.events)
	}
	kept := countEvents(readSegments(t, s.log, decompressWhole))
	b := startAgent(t, s)
	again := replay()
	if result := b.stop(t, patience); result.recorded != again || len(result.lost) != 0 {
		t.Errorf("after it: recorded %+v of %+v, lost %+v", result.recorded, again, result.lost)
	}
	readByOther(t, s.log)
	if n := countEvents(readSegments(t, s.log, decompressWhole)); n != kept+again.events {
		t.Errorf("the log holds %d events, want %d", n, kept+again.events)
	}
	unmount()
}

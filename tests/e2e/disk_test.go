// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/tests/machine"
)

// smallDisk mounts a file system of 32 MiB for a log.
func smallDisk(t *testing.T) string {
	t.Helper()
	needRecording(t)
	if !machine.Capable(machine.CapSysAdmin) {
		t.Skip("mounting a file system needs CAP_SYS_ADMIN")
	}
	dir := t.TempDir()
	if err := syscall.Mount("crau-e2e", dir, "tmpfs", 0, "size=32M,mode=0755"); err != nil {
		t.Fatalf("cannot mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("cannot unmount %s: %v", dir, err)
		}
	})
	return dir
}

// fill writes a file until the disk is full.
func fill(t *testing.T, file string) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{64 << 10, 1 << 10, 1} {
		b := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(b)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

func TestLossesOnAFullDiskAreCountedAndRecordingContinuesWithRoom(t *testing.T) {
	const hits = 100_000
	disk := smallDisk(t)
	log, ballast := filepath.Join(disk, "log"), filepath.Join(disk, "ballast")
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}, log: log, config: "rate_limit = 0\n"})
	fill(t, ballast)
	var fired number
	seed := uint64(0)
	waitFor(t, "the agent to have more than it can keep in memory", func() bool {
		seed++
		bad := publish(t, "hostile", "--flood", "--seed", strconv.FormatUint(seed, 10), "--count", strconv.Itoa(hits))
		fired.add(number{bad.done.hits, floodEvents(seed, 1, hits)})
		return strings.Contains(a.stderr.String(), "no space left")
	})
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	before := diskUse(t, log)
	waitFor(t, "the log to grow again", func() bool {
		fired.add(publish(t, "hostile", "--deep", "--count", "10").done)
		return diskUse(t, log) > before
	})
	result := a.stop(t, patience)
	recorded := check(t, a, result, fired)
	if n := result.lost[place{"disk", "disk-full"}]; n.hits == 0 {
		t.Errorf("no loss has the reason disk-full: %v", result.lost)
	}
	if !slices.ContainsFunc(recorded, func(g group) bool { return g.Name == "hostile::deep" }) {
		t.Error("no event is recorded that was fired when the disk had room again")
	}
}

func TestAnAgentWithAFullDiskStopsAndCountsEverything(t *testing.T) {
	disk := smallDisk(t)
	log := filepath.Join(disk, "log")
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}, log: log})
	first := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls13-p256")).done
	waitFor(t, "the log to have all fired events", func() bool {
		return countEvents(decode(t, log, readable(t, log))) == first.events
	})
	fill(t, filepath.Join(disk, "ballast"))
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), "--fresh-ids", "--count", "5000", trace("gnutls-tls13-p256")).done
	fired.add(first)
	// Events that could not be written make it fail, after it has tried to write all.
	if status := a.terminate(t, exitWithin); status != 1 || !strings.Contains(a.stderr.String(), "no space left on device") {
		t.Errorf("exit status %d, want 1 and the reason", status)
	}
	result := a.totals(t)
	accounted := result.recorded
	accounted.add(result.sum())
	if accounted != fired {
		t.Errorf("fired %+v, recorded %+v, lost %+v", fired, result.recorded, result.lost)
	}
	if n := countEvents(readSegments(t, log, decompressWhole)); n != result.recorded.events || n < first.events {
		t.Errorf("the log holds %d events, the agent recorded %d", n, result.recorded.events)
	}
}

// diskUse returns the size of the log's segments in bytes.
func diskUse(t *testing.T, dir string) (size int64) {
	t.Helper()
	for _, file := range segments(t, dir) {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	return size
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// recordings returns the notices of start and stop in a log.
func recordings(log []group) (notices []group) {
	for _, g := range log {
		if g.metadata() && g.value("crau::recording") != nil {
			notices = append(notices, g)
		}
	}
	return notices
}

func TestTheLogShowsWhenNothingWasRecorded(t *testing.T) {
	s := setup{libraries: []string{publisher("libreplay.so")}, log: filepath.Join(t.TempDir(), "log")}
	first := startAgent(t, s)
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls12")).done
	waitFor(t, "the log to have all fired events", func() bool {
		return countEvents(decode(t, s.log, readable(t, s.log))) == fired.events
	})
	// From now on the agent is idle: only the modification time of the file shows that it
	// records.
	files := segments(t, s.log)
	active := files[len(files)-1]
	old := time.Unix(1_000_000_000, 0)
	if err := os.Chtimes(active, old, old); err != nil {
		t.Fatal(err)
	}
	var alive time.Time
	waitFor(t, "the agent to show that it records", func() bool {
		info, err := os.Stat(active)
		if err != nil {
			t.Fatal(err)
		}
		alive = info.ModTime()
		return alive.After(old)
	})
	first.command.Process.Kill()
	<-first.exited
	killed := time.Now()

	startAgent(t, s).stop(t, patience)
	startAgent(t, s).stop(t, patience)
	notices := recordings(readSegments(t, s.log, decompressWhole))
	want := []struct{ state, reason any }{
		{"started", nil}, {"started", "agent-killed"}, {"stopped", nil}, {"started", "agent-stopped"}, {"stopped", nil},
	}
	if len(notices) != len(want) {
		t.Fatalf("%d notices of start and stop, want %d", len(notices), len(want))
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range notices {
		if g.value("crau::recording") != want[i].state || g.value("crau::unrecorded_reason") != want[i].reason {
			t.Errorf("notice %d is %v with the reason %v, want %v", i, g.value("crau::recording"), g.value("crau::unrecorded_reason"), want[i])
		}
		if version, ok := g.value("crau::agent_version").(string); !ok || version == "" {
			t.Errorf("notice %d has the version %v", i, g.value("crau::agent_version"))
		}
		if want := strings.ReplaceAll(strings.TrimSpace(string(boot)), "-", ""); g.value("crau::boot_id") != want {
			t.Errorf("notice %d has the boot id %v, want %s", i, g.value("crau::boot_id"), want)
		}
		if reason := g.value("crau::stop_reason"); want[i].state == "stopped" && reason != "requested" {
			t.Errorf("notice %d has the stop reason %v", i, reason)
		}
	}
	if since := notices[0].value("crau::unrecorded_since"); since != nil {
		t.Errorf("the first start of the log has a gap before it, since %v", since)
	}
	since, ok := notices[1].value("crau::unrecorded_since").(int64)
	if from := time.Unix(0, since); !ok || from.Before(alive) || from.After(killed) {
		t.Errorf("not recorded since %v, but the agent was alive at %v and killed before %v", from, alive, killed)
	}
	// The time of a clean stop has a resolution of nanoseconds.
	since, ok = notices[3].value("crau::unrecorded_since").(int64)
	var sinceBoot unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &sinceBoot); err != nil {
		t.Fatal(err)
	}
	offset := time.Now().UnixNano() - sinceBoot.Nano()
	if stopped := offset + int64(*notices[2].End); !ok || max(since-stopped, stopped-since) > int64(time.Second) {
		t.Errorf("not recorded since %d, but stopped at %d", since, stopped)
	}
}

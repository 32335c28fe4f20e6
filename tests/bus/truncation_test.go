// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"crypto-auditing/src/client"
)

func TestLaggingSubscribersAreNotifiedOfTruncation(t *testing.T) {
	onEveryNewBusWithServices(t, func(t *testing.T, w *world) {
		c := w.connect(t)
		begin := w.fire(t, 1)
		durable, err := c.Subscribe(t.Context(), client.SubscribeOptions{Name: "lagging", After: begin})
		if err != nil {
			t.Fatal(err)
		}
		if err := durable.Close(); err != nil {
			t.Fatal(err)
		}
		var ends []client.Cursor
		for range 3 {
			ends = append(ends, w.fire(t, 10))
			w.must(t, root, "crauctl", "rotate")
		}
		w.fire(t, 10)

		// Entries that a subscription has not read are kept.
		keepFree, maxSize := uint64(0), uint64(1)
		kept, err := c.Truncate(t.Context(), client.Retention{MaxSize: &maxSize, KeepFree: &keepFree, Reading: client.ReadingKeeps})
		if err != nil || kept.Segments != 0 {
			t.Errorf("%d unread segments were removed, %v", kept.Segments, err)
		}
		// Clients are notified that the oldest cursor has changed.
		listener := w.start(t, member, py(`
import dbus, dbus.mainloop.glib
from gi.repository import GLib
dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
def changed(of, properties, invalidated):
    if "Oldest" in properties:
        print("oldest", properties["Oldest"], flush=True)
dbus.SystemBus().add_signal_receiver(changed, "PropertiesChanged", "org.freedesktop.DBus.Properties",
    path="/org/crypto_auditing/Broker")
print("listening", flush=True)
GLib.MainLoop().run()
`)...)
		listener.waitForOutput(t, "listening")
		// Removing the whole log is probably a mistake, and needs --force.
		vacuum := []string{"crauctl", "vacuum", "--vacuum-size=1B", "--keep-free=0", "--reading=ignore"}
		r := w.as(t, root, vacuum...)
		if oldest, err := c.Oldest(t.Context()); r.code != 1 || r.stdout != "" || err != nil || oldest > begin ||
			!strings.Contains(r.stderr, "max-size=1B would remove the whole log at once (3 segments, ") || !strings.Contains(r.stderr, "crauctl vacuum --force") {
			t.Errorf("without --force: exit code %d, %q, %q; the oldest cursor is %s, %v", r.code, r.stdout, r.stderr, oldest, err)
		}
		got := w.must(t, root, append(vacuum, "--force")...)
		if !strings.HasPrefix(got, "removed 3 segments, ") {
			t.Errorf("crauctl printed %q", got)
		}
		oldest, err := c.Oldest(t.Context())
		if err != nil || oldest < ends[2] {
			t.Fatalf("the oldest cursor is %s, %v, want %s or later", oldest, err, ends[2])
		}
		listener.waitForOutput(t, "oldest "+string(oldest))
		// The log has a record of the removal.
		newest, err := c.Newest(t.Context())
		if err != nil {
			t.Fatal(err)
		}

		removed := sequence(t, oldest) - sequence(t, begin)
		page, err := c.Read(t.Context(), begin, client.Filter{}, 1)
		if err != nil || page.Missing != removed || len(page.Groups) != 1 || page.Groups[0].Sequence != sequence(t, oldest)+1 {
			t.Errorf("a page after the removal is %+v, %v, want %d missing entries", page, err, removed)
		}
		var missing []client.MissingError
		var sequences []uint64
		for g, err := range c.Groups(t.Context(), begin, client.Filter{}) {
			var missed *client.MissingError
			switch {
			case errors.As(err, &missed):
				missing = append(missing, *missed)
			case err != nil:
				t.Fatal(err)
			default:
				sequences = append(sequences, g.Sequence)
			}
		}
		if len(missing) != 1 || missing[0] != (client.MissingError{Entries: removed, Reason: "truncated"}) {
			t.Errorf("the stream after the removal reports %v as missing, want %d", missing, removed)
		}
		if err := contiguous(sequences, sequence(t, oldest)+1, sequence(t, newest)); err != nil {
			t.Errorf("the stream after the removal: %v", err)
		}

		durable, err = c.Attach(t.Context(), "lagging")
		if err != nil {
			t.Fatal(err)
		}
		defer durable.Close()
		f := follower{t: t, s: durable}
		f.until(newest)
		want := client.Skipped{From: begin, To: oldest, Entries: removed, Reason: "truncated"}
		if len(f.skipped) != 1 || f.skipped[0] != want {
			t.Errorf("the subscription skipped %v, want %v", f.skipped, want)
		}
		if err := contiguous(f.sequences, sequence(t, oldest)+1, sequence(t, newest)); err != nil {
			t.Errorf("the subscription: %v", err)
		}

		r = w.as(t, root, "crauctl", "query", "-o", "cat", "--after-cursor", string(begin))
		if note := fmt.Sprintf("crauctl: %d entries have been removed from the log\n", removed); r.code != 0 || r.stderr != note {
			t.Errorf("crauctl exits with status %d and prints %q, want %q", r.code, r.stderr, note)
		}
		// A query of the whole log, and verify, show the user and the entries of the removal.
		record := regexp.MustCompile(fmt.Sprintf(`(?m)^(crauctl: )?entries 1–%d were removed \(by root, .*, at [-0-9 :]+\)$`, sequence(t, oldest)))
		r = w.as(t, root, "crauctl", "query", "-o", "cat")
		if r.code != 0 || !record.MatchString(r.stderr) || !strings.Contains(r.stdout, "\n— entries 1–") {
			t.Errorf("crauctl query exits with status %d, prints %q and shows:\n%s", r.code, r.stderr, r.stdout)
		}
		if got := w.must(t, root, "crauctl", "verify", "--directory", logDir); !record.MatchString(got) {
			t.Errorf("verify printed %q", got)
		}
		// All subscriptions have read everything, which may thus be removed.
		w.must(t, root, "crauctl", "rotate")
		w.fire(t, 1)
		if got := w.must(t, root, "crauctl", "vacuum", "--keep-free=0", "--reading=drop", "-o", "json"); !strings.Contains(got, `"segments":1`) {
			t.Errorf("crauctl vacuum of read entries printed %s", got)
		}

		w.restartAgent(t)
		waitFor(t, "crauctl status to report the removal and the restart", func() bool {
			status := w.must(t, root, "crauctl", "status")
			return strings.Contains(status, "\n  Removed: entr") &&
				strings.Contains(status, "\n      Gap: not recorded from ") && strings.Contains(status, " (agent was stopped)\n")
		})
		if got := w.must(t, root, "crauctl", "status", "-o", "json"); !strings.Contains(got, `"reason":"agent-stopped"`) || !strings.Contains(got, `"removed":{"timeUSec":`) {
			t.Errorf("the status in JSON is %s", got)
		}
	})
}

func TestAClientOutlivesTheBus(t *testing.T) {
	onEveryNewBusWithServices(t, func(t *testing.T, w *world) {
		before := w.fire(t, 1)
		c := w.connect(t)
		s, err := c.Subscribe(t.Context(), client.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f := follower{t: t, s: s}
		f.until(w.fire(t, 20))
		w.restartBus(t)
		f.until(w.fire(t, 20))
		if err := contiguous(f.sequences, sequence(t, before)+1, sequence(t, f.cursor)); err != nil || len(f.skipped) > 0 {
			t.Errorf("%v, skipped %v", err, f.skipped)
		}
		waitFor(t, "the client's next connection", func() bool {
			newest, err := c.Newest(t.Context())
			return err == nil && newest >= f.cursor
		})
	})
}

// SPDX-License-Identifier: Apache-2.0

package bus

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"crypto-auditing/src/client"
)

func TestAnEmptyLogIsReadWithoutAnAgent(t *testing.T) {
	onEveryNewBus(t, func(t *testing.T, w *world) {
		w.startBroker(t)
		c := w.connect(t)
		if _, err := c.Flush(t.Context()); !errors.Is(err, client.ErrAgentUnavailable) {
			t.Errorf("flushing without an agent: %v", err)
		}
		if s, err := c.Status(t.Context()); err != nil || s.Agent != nil || s.AgentError == "" {
			t.Errorf("without an agent: %+v, %v", s, err)
		}
		if r := w.as(t, root, "crauctl", "status"); r.code != 1 || !strings.Contains(r.stdout, "● crau-broker ") || !strings.Contains(r.stderr, "cannot reach the agent") {
			t.Errorf("crauctl exits with status %d and prints %q, %q", r.code, r.stdout, r.stderr)
		}
		if r := w.as(t, member, "crauctl", "query"); r.code != 0 || r.stdout != "" || r.stderr != emptyLog {
			t.Errorf("crauctl exits with status %d and prints %q, %q", r.code, r.stdout, r.stderr)
		}
		if r := w.as(t, member, "crauctl", "query", "-n", "3", "--show-cursor"); r.code != 0 {
			t.Errorf("crauctl exits with status %d and prints %q, %q", r.code, r.stdout, r.stderr)
		}
		page, err := c.Read(t.Context(), client.Oldest, client.Filter{}, 0)
		if err != nil || len(page.Groups) > 0 || page.Missing > 0 {
			t.Errorf("a page is %+v, %v", page, err)
		}
		if n := count(t, c, client.Newest, client.Filter{}); n > 0 {
			t.Errorf("a stream has %d groups", n)
		}
		subscription, err := c.Subscribe(t.Context(), client.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer subscription.Close()
		stream, err := c.Open(t.Context(), client.Newest, client.Filter{}, client.OpenOptions{Follow: true})
		if err != nil {
			t.Fatal(err)
		}
		defer stream.Close()
		w.startAgent(t)
		f := follower{t: t, s: subscription}
		last := w.fire(t, 5)
		f.until(last)
		if err := contiguous(f.sequences, 1, sequence(t, last)); err != nil || len(f.skipped) > 0 {
			t.Errorf("the subscription: %v, skipped %v", err, f.skipped)
		}
		next := func() uint64 {
			e, err := stream.Next()
			if err != nil {
				t.Fatal(err)
			}
			return e.Sequence
		}
		for n := uint64(1); n <= sequence(t, last); n++ {
			if got := next(); got != n {
				t.Fatalf("the stream has sequence %d, want %d", got, n)
			}
		}
		// The stream was opened before the log existed, and must continue in that log.
		w.killBroker(t)
		if n := w.fire(t, 1); next() != sequence(t, last)+1 {
			t.Errorf("the stream does not continue up to %s", n)
		}
	})
}

func TestDamageIsReportedAndUndamagedEntriesAreShown(t *testing.T) {
	onEveryNewBusWithServices(t, func(t *testing.T, w *world) {
		for range 3 {
			w.fire(t, 20)
		}
		files, err := filepath.Glob(w.Path(logDir + "/*.zst"))
		if err != nil || len(files) != 1 {
			t.Fatalf("the segments are %v, %v", files, err)
		}
		// Kill the broker, so that it has no entries in memory.
		w.killBroker(t)
		log, err := os.OpenFile(files[0], os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		info, err := log.Stat()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.WriteAt([]byte("damaged by a test"), info.Size()/2); err != nil {
			t.Fatal(err)
		}
		r := w.as(t, member, "crauctl", "query", "-o", "cat")
		if r.code != 1 || !strings.Contains(r.stderr, " entries of the log are damaged\n") || strings.Count(r.stdout, "\n") < 80 {
			t.Errorf("crauctl exits with status %d, prints %q and shows\n%s", r.code, r.stderr, r.stdout)
		}
		var missing uint64
		c := w.connect(t)
		for cursor := client.Oldest; ; {
			page, err := c.Read(t.Context(), cursor, client.Filter{}, 0)
			if err != nil {
				t.Fatal(err)
			}
			missing += page.Missing
			if page.Next == cursor {
				break
			}
			cursor = page.Next
		}
		if missing == 0 {
			t.Error("pages do not report missing entries")
		}
	})
}

// A restored backup may have files that the broker cannot open.
func TestASegmentIsReportedWhileItIsUnreadable(t *testing.T) {
	onEveryNewBusWithServices(t, func(t *testing.T, w *world) {
		for range 3 {
			w.fire(t, 20)
			w.must(t, root, "crauctl", "rotate")
		}
		w.fire(t, 1)
		files, err := filepath.Glob(w.Path(logDir + "/*.zst"))
		if err != nil || len(files) < 4 {
			t.Fatalf("the segments are %v, %v", files, err)
		}
		// Sealing would replace the file with a readable one.
		waitFor(t, "the closed segments to be sealed", func() bool {
			return strings.Count(w.must(t, root, "crauctl", "log-info", "--directory", logDir), " sealed ") == len(files)-1
		})
		info, err := os.Stat(files[1])
		if err != nil {
			t.Fatal(err)
		}
		before := w.must(t, member, "crauctl", "query", "-o", "cat")
		if err := os.Chmod(files[1], 0); err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(files[1])
		for _, arguments := range [][]string{{"query", "-o", "cat"}, {"query", "--directory", logDir, "-o", "cat"}} {
			r := w.as(t, member, append([]string{"crauctl"}, arguments...)...)
			if shown := strings.Count(r.stdout, "\n"); r.code != 1 || !strings.Contains(r.stderr, "cannot be read") && !strings.Contains(r.stderr, "cannot read segment") ||
				shown >= strings.Count(before, "\n") || shown < strings.Count(before, "\n")/2 {
				t.Errorf("crauctl %q exits with status %d, prints %q and shows\n%s", arguments, r.code, r.stderr, r.stdout)
			}
		}
		for _, command := range []string{"verify", "log-info"} {
			r := w.as(t, member, "crauctl", command, "--directory", logDir)
			if r.code != 1 || !strings.Contains(r.stderr, name) || r.stdout == "" {
				t.Errorf("crauctl %s exits with status %d, prints %q and shows\n%s", command, r.code, r.stderr, r.stdout)
			}
		}
		for g, err := range w.connect(t).Groups(t.Context(), client.Oldest, client.Filter{}) {
			var missing *client.MissingError
			if errors.As(err, &missing) && missing.Reason == "unreadable" && missing.Entries > 0 {
				break
			}
			if err != nil {
				t.Errorf("the client gets %v after %d", err, g.Sequence)
			}
		}
		status := func() string { return w.as(t, member, "crauctl", "status").stdout }
		if text := status(); !strings.Contains(text, "Trouble") || !strings.Contains(text, name+": permission denied") {
			t.Errorf("the status does not name the segment:\n%s", text)
		}
		if err := os.Chmod(files[1], info.Mode()); err != nil {
			t.Fatal(err)
		}
		// The agent records nothing meanwhile.
		if text := status(); strings.Contains(text, name) {
			t.Errorf("the status still names the segment:\n%s", text)
		}
		if after := w.must(t, member, "crauctl", "query", "-o", "cat"); after != before {
			t.Errorf("crauctl shows\n%s\nand showed before\n%s", after, before)
		}
	})
}

// held returns the numbers of descriptors and goroutines of this process.
func held(t *testing.T) (descriptors, goroutines int) {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries), runtime.NumGoroutine()
}

func TestClosedSubscriptionsReleaseTheirResources(t *testing.T) {
	onEveryBusWithServices(t, func(t *testing.T, w *world) {
		w.fire(t, 1)
		use := func() {
			c, err := client.Connect(t.Context(), client.WithAddress(w.address()))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			s, err := c.Subscribe(t.Context(), client.SubscribeOptions{After: client.Oldest})
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			for _, follow := range []bool{false, true} {
				stream, err := c.Open(t.Context(), client.Oldest, client.Filter{}, client.OpenOptions{Follow: follow})
				if err != nil {
					t.Fatal(err)
				}
				if _, err := stream.Next(); err != nil {
					t.Error(err)
				}
				stream.Close()
			}
			if _, err := c.Subscribe(t.Context(), client.SubscribeOptions{After: "nowhere"}); err == nil {
				t.Error("subscribed after an unknown cursor")
			}
			for range c.Groups(t.Context(), client.Oldest, client.Filter{}) {
				break
			}
		}
		use()
		descriptors, goroutines := held(t)
		for range 20 {
			use()
		}
		waitFor(t, "the client to release its resources", func() bool {
			d, g := held(t)
			return d <= descriptors && g <= goroutines
		})
		c := w.connect(t)
		waitFor(t, "the broker to close all streams and subscriptions", func() bool {
			s, err := c.Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return s.Streams == 0 && s.Attached == 0
		})
	})
}

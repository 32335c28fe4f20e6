// SPDX-License-Identifier: Apache-2.0

package busservice_test

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"crypto-auditing/src/internal/broker/brokertest"
)

// A stream that ends with the broker reports this, whether its client waits for entries or
// has not yet read all of the pipe.
func TestAStreamThatEndsWithTheBrokerReportsThat(t *testing.T) {
	for name, c := range map[string]struct{ groups int }{"waiting for more": {10}, "with a full pipe": {200_000}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t)
			p := s.connect(t)
			r := rand.New(rand.NewPCG(5, 5))
			for left := c.groups; left > 0; left -= 1000 {
				s.log.Append(brokertest.Some(r, min(left, 1000))...)
			}
			s.log.Flush()
			f := p.open("oldest", dict{}, all("follow", true))
			d := cbor.NewDecoder(bufio.NewReaderSize(f, 4096))
			var last uint64
			next := func() (outcome, reason string) {
				var entry map[string]any
				if err := d.Decode(&entry); err != nil {
					t.Fatalf("after entry %d: %v", last, err)
				}
				if outcome, reason = endOf(entry); outcome == "" {
					sequence := entry["seq"].(uint64)
					if sequence != last+1 {
						t.Fatalf("entry %d follows %d", sequence, last)
					}
					last = sequence
				}
				return outcome, reason
			}
			for range 5 {
				if outcome, reason := next(); outcome != "" {
					t.Fatalf("the stream ended early: %s %s", outcome, reason)
				}
			}
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				s.stop()
			}()
			defer func() { <-stopped }()
			for {
				outcome, reason := next()
				if outcome == "" {
					continue
				}
				if outcome != "failed" || !strings.Contains(reason, "the broker is stopping") {
					t.Errorf("the stream ended: %s %s", outcome, reason)
				}
				break
			}
			if n, err := io.Copy(io.Discard, d.Buffered()); n != 0 || err != nil {
				t.Errorf("%d bytes after the end, %v", n, err)
			}
		})
	}
}

func TestAStreamSkipsAnUnreadableSegment(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	r := rand.New(rand.NewPCG(6, 6))
	hidden := ""
	for range 3 {
		s.log.Append(brokertest.Some(r, 100)...)
		files, err := os.ReadDir(s.log.Dir)
		if err != nil {
			t.Fatal(err)
		}
		hidden = files[len(files)-1].Name()
		s.log.Rotate()
	}
	last := s.log.Append(brokertest.Some(r, 100)...)
	s.log.Flush()
	path := s.log.Dir + "/" + hidden
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(hidden, path); err != nil {
		t.Fatal(err)
	}
	got := streamed(t, p.open("oldest", dict{}, dict{}), nil)
	if n := got[len(got)-1]["seq"]; n != last.Sequence {
		t.Errorf("the stream ends at %v, want %d", n, last.Sequence)
	}
	gaps := 0
	for _, entry := range got {
		if data := fmt.Sprint(entry["events"]); strings.Contains(data, "crau::missing_entries") && strings.Contains(data, "unreadable") {
			gaps++
		}
	}
	if gaps != 1 {
		t.Errorf("%d gaps are reported, want 1", gaps)
	}
	store := func() string {
		var status dict
		if err := p.call("GetStatus").Store(&status); err != nil {
			t.Fatal(err)
		}
		text, _ := status["store-error"].Value().(string)
		return text
	}
	if text := store(); !strings.Contains(text, hidden) || !strings.Contains(text, "too many levels of symbolic links") {
		t.Errorf("the status is %q", text)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); store() != ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the segment can be read again, but the status is %q", store())
		}
	}
}

func TestAFailedStreamReportsTheReason(t *testing.T) {
	s := serve(t)
	p := s.connect(t)
	last := s.log.Append(brokertest.Some(rand.New(rand.NewPCG(6, 7)), 10)...)
	s.log.Flush()
	f := p.open("oldest", dict{}, all("follow", true))
	away := s.log.Dir + ".away"
	var outcome, reason string
	streamed(t, f, func(entry map[string]any) bool { return entry["seq"] == last.Sequence })
	if err := os.Rename(s.log.Dir, away); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Rename(away, s.log.Dir) })
	d := cbor.NewDecoder(f)
	if err := f.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Logf("the pipe has no deadline: %v", err)
	}
	// A follower checks again when a file appears or disappears.
	if err := os.WriteFile(away+"/other", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for outcome == "" {
		var entry map[string]any
		if err := d.Decode(&entry); err != nil {
			t.Fatal(err)
		}
		outcome, reason = endOf(entry)
	}
	if outcome != "failed" || !strings.Contains(reason, "cannot read the log") {
		t.Errorf("the stream ended: %s %s", outcome, reason)
	}
}

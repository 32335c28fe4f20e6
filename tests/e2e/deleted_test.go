// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestADeletedActiveSegmentIsALossInANewOne(t *testing.T) {
	for name, c := range map[string]struct {
		remove  func(t *testing.T, log string)
		message string
	}{
		"the files are deleted": {func(t *testing.T, log string) {
			for _, file := range segments(t, log) {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			}
		}, "another program deleted a segment of the log"},
		"the directory is moved": {func(t *testing.T, log string) {
			if err := os.Rename(log, filepath.Join(t.TempDir(), "moved")); err != nil {
				t.Fatal(err)
			}
		}, "another program removed or replaced the directory of the log"},
	} {
		// The agent notices it at the next recorded event, or, if idle, at the next call.
		for _, call := range []string{"", "flush", "status"} {
			t.Run(name+", then "+call, func(t *testing.T) {
				a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}})
				lost := publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "5", trace("gnutls-tls13-p256")).done
				crauctl(t, "flush", "--socket", socket)
				c.remove(t, a.log)
				fired := lost
				if call == "" {
					fired.add(publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "5", trace("gnutls-tls12")).done)
					call = "flush"
				}
				switch call {
				case "flush":
					cursor := strings.TrimSpace(crauctl(t, "flush", "--socket", socket))
					last := chunks(t, a.log)
					c := last[len(last)-1]
					if want := fmt.Sprintf("%x-%016x", c.store, c.first+c.entries-1); cursor != want {
						t.Errorf("flush returned %s, the directory ends at %s", cursor, want)
					}
				case "status":
					var s status
					if err := json.Unmarshal([]byte(crauctl(t, "status", "-o", "json", "--socket", socket)), &s); err != nil {
						t.Fatal(err)
					}
					var events uint64
					for _, l := range s.Lost {
						events += l.Events
					}
					if events != lost.events {
						t.Errorf("the status has the losses %+v, want %d events", s.Lost, lost.events)
					}
				}
				result := a.stop(t, patience)
				if n := a.logged(c.message); n != 1 {
					t.Errorf("the agent warned %d times that %s", n, c.message)
				}
				check(t, a, result, fired)
				if n := result.lost[place{"disk", "segment-deleted"}]; n != lost {
					t.Errorf("lost %+v, want %+v as segment-deleted", result.lost, lost)
				}
			})
		}
	}
}

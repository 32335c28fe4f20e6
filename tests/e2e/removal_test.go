// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/user"
	"strings"
	"testing"
)

// removals returns the records of removals in a log.
func removals(log []group) (records []group) {
	for _, g := range log {
		if g.metadata() && g.value("crau::removed_first") != nil {
			records = append(records, g)
		}
	}
	return records
}

func TestEveryRemovalIsRecordedWithUserAndReason(t *testing.T) {
	self, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		config, by, policy string
		uid                int64
		// remove removes the entries up to the cursor; nil: the agent does it.
		remove func(t *testing.T, socket, cursor string)
	}{
		"by a user, through the broker": {
			"", "alice", "vacuum --max-age=30d", 1234,
			func(t *testing.T, socket, cursor string) {
				p := connect(t, socket)
				p.call(t, "Remove", fmt.Sprintf(`,"parameters":{"before":%q,"uid":1234,"user":"alice","policy":"vacuum --max-age=30d"}`, cursor))
				if r := p.reply(t); r.Error != "" {
					t.Fatal(r.Error)
				}
			},
		},
		"by the agent's own limits": {"max_size = \"1K\"\n", self.Username, "max_size=1K", int64(os.Getuid()), nil},
	} {
		t.Run(name, func(t *testing.T) {
			a, socket := startListening(t, setup{libraries: []string{publisher("libreplay.so")}, config: c.config})
			publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "20", trace("gnutls-tls13-p256"))
			crauctl(t, "rotate", "--socket", socket)
			if c.remove != nil {
				all := chunks(t, a.log)
				last := all[len(all)-1] // the first of the new segment
				c.remove(t, socket, fmt.Sprintf("%x-%016x", last.store, last.first-1))
			}
			waitFor(t, "the removal to be reported", func() bool {
				return a.logged("removed the oldest segments of the log", "user="+c.by, fmt.Sprintf("uid=%d", c.uid)) == 1
			})
			crauctl(t, "flush", "--socket", socket)
			a.stop(t, patience)
			records := removals(readLog(t, a.log))
			if len(records) != 1 {
				t.Fatalf("the log has %d records of a removal, want one", len(records))
			}
			r := &records[0]
			oldest := chunks(t, a.log)[0].first
			for key, want := range map[string]any{
				"crau::removed_first": int64(1), "crau::removed_last": int64(oldest) - 1, "crau::removed_by": c.by,
				"crau::removed_uid": c.uid, "crau::removed_policy": c.policy,
			} {
				if got := r.value(key); got != want {
					t.Errorf("%s is %v, want %v", key, got, want)
				}
			}
			for _, key := range []string{"crau::removed_segments", "crau::removed_bytes"} {
				if n, ok := r.value(key).(int64); !ok || n <= 0 {
					t.Errorf("%s is %v", key, r.value(key))
				}
			}
			if oldest == 1 || !strings.Contains(a.stderr.String(), c.policy) {
				t.Errorf("the log begins with entry %d; the agent wrote\n%s", oldest, a.stderr)
			}
		})
	}
}

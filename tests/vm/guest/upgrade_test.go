// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/src/client"
)

// inode identifies the file at a path.
func inode(t *testing.T, path string) uint64 {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestAnUpgradeInPlaceLosesNothing(t *testing.T) {
	running(t)
	c := connect(t)
	s, err := c.Subscribe(t.Context(), client.SubscribeOptions{Name: "upgrade", Filter: client.Filter{Contexts: []string{"tls::*"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fireTrace(t, 10)
	seen := receive(t, s, 10)
	before := readStatus(t)
	sockets := map[string]uint64{agentPath: inode(t, agentPath), brokerPath: inode(t, brokerPath)}

	// As by a package: each file gets its final name when it is complete, and its
	// label; then the running services are restarted.
	for _, program := range []string{"crau-agent", "crau-broker", "crauctl"} {
		path := "/usr/bin/" + program
		run(t, "install", "/opt/test/upgrade/"+program, path+".new")
		run(t, "mv", path+".new", path)
		run(t, "restorecon", path)
	}
	run(t, "systemctl", "daemon-reload")
	run(t, "systemctl", "try-restart", agentService, brokerService)

	for path, was := range sockets {
		if now := inode(t, path); now != was {
			t.Errorf("%s is another socket than before", path)
		}
	}
	fired := fireTrace(t, 10)
	seen = append(seen, receive(t, s, 10)...)
	for i := 1; i < len(seen); i++ {
		if seen[i] <= seen[i-1] {
			t.Errorf("the subscriber got group %d after %d", seen[i], seen[i-1])
		}
	}
	now := readStatus(t)
	if now.Version != "99.0" || now.Broker == nil || now.Broker.Version != "99.0" {
		t.Errorf("after the upgrade agent and broker are %s and %+v", now.Version, now.Broker)
	}
	if store, _, _ := strings.Cut(before.Newest, "-"); !strings.HasPrefix(now.Newest, store+"-") || now.Newest <= before.Newest {
		t.Errorf("the log continued from %s to %s", before.Newest, now.Newest)
	}
	// Sequence numbers have no gap.
	last := uint64(0)
	for g, err := range c.Groups(t.Context(), client.Cursor(before.Oldest), client.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if last != 0 && g.Sequence != last+1 {
			t.Errorf("group %d comes after %d", g.Sequence, last)
		}
		last = g.Sequence
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if now.Hits != fired || lost(now.Lost) != 0 {
		t.Errorf("recorded %d of %d hits after the upgrade, the losses are %+v", now.Hits, fired, now.Lost)
	}
	run(t, "crauctl", "verify", "--directory", logDir)
}

// SPDX-License-Identifier: Apache-2.0

//go:build vm

package guest

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The confined opener opens a library that is only in another mount namespace, and the
// confined agent attaches to it. Their denials are listed at the end of the run.
func TestALibraryInAContainerIsRecorded(t *testing.T) {
	const directory = "/usr/lib/contained"
	if err := os.MkdirAll(directory, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(directory) })
	recording(t, libraries(library)+"discover_processes = true\n")
	run(t, "systemctl", "start", "crypto-auditing-opener.socket")
	t.Cleanup(func() { run(t, "systemctl", "stop", "crypto-auditing-opener.socket", "crypto-auditing-opener.service") })
	c := exec.Command("unshare", "--mount", "sh", "-euc", "mount -t tmpfs -o mode=755,rootcontext=system_u:object_r:lib_t:s0 none "+directory+
		"; cat "+library+" >"+directory+"/libssl.so.77; chmod 644 "+directory+"/libssl.so.77; exec "+replay+" --commands --library "+directory+"/libssl.so.77 "+trace)
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = c.Wait()
	})
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil { // that it is ready
		t.Fatal(err)
	}
	waitFor(t, "the library to be attached", func() bool {
		for _, l := range readStatus(t).Libraries {
			if strings.HasPrefix(l.Path, "mnt:[") && strings.HasSuffix(l.Path, "/libssl.so.77") && l.Attached != "" {
				return true
			}
		}
		return false
	})
	if _, err := fmt.Fprintln(in, "run 3"); err != nil {
		t.Fatal(err)
	}
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	flush(t)
	for _, l := range readStatus(t).Libraries {
		if strings.HasSuffix(l.Path, "/libssl.so.77") && l.Hits != 3*28 {
			t.Errorf("%d hits are recorded, want %d", l.Hits, 3*28)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestALibraryThatOnlyAProcessLeadsToIsAttached(t *testing.T) {
	needRecording(t)
	content, err := os.ReadFile(publisher("libreplay.so"))
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(t.TempDir(), unique("elsewhere.so"))
	if err := os.WriteFile(library, content, 0o644); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(openDirectory(t), "agent")
	a := startAgent(t, setup{libraries: []string{publisher("libfresh.so")}, config: "discover_processes = true\n", flags: []string{"--varlink", socket}})
	c := exec.Command(publisher("replay"), "--commands", "--library", library, trace("gnutls-tls13-p256"))
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
	waitFor(t, "the library to be attached", func() bool { return a.logged("attached", library) > 0 })
	lines := bufio.NewReader(out)
	if _, err := lines.ReadString('\n'); err != nil { // it is ready
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(in, "run 1"); err != nil {
		t.Fatal(err)
	}
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// The agent may have found libraries of other processes, too.
	if hits := hitsOf(t, socket, filepath.Base(library)); hits != handshakeHits {
		t.Errorf("%d hits are recorded, want %d", hits, handshakeHits)
	}
	a.stop(t, patience)
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// TestUpgradesUnderLoadLoseNothing replaces a library twenty times. One program fires
// through the first file all the time; others start after the agent has attached to each
// replacement.
func TestUpgradesUnderLoadLoseNothing(t *testing.T) {
	const upgrades = 20
	library := filepath.Join(t.TempDir(), "libx.so")
	copyFile(t, library, publisher("libreplay.so"))
	a := startAgent(t, setup{libraries: []string{library}})
	load := start(t, "replay", "--library", library, "--fresh-ids", "--commands", trace("gnutls-tls13-p256"))
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				stopped <- nil
				return
			case <-time.After(2 * time.Millisecond):
			}
			fmt.Fprintln(load.stdin, "run 5")
			if _, err := load.stdout.ReadString('\n'); err != nil {
				stopped <- err
				return
			}
		}
	}()
	var fired number
	for i := range upgrades {
		copyFile(t, library, publisher(fmt.Sprintf("libreplay%d.so", i%9+1)))
		waitFor(t, "the agent to attach to the replacement", func() bool { return a.logged("attached", library) == i+2 })
		load.timer.Reset(patience) // each upgrade is a separate wait
		fired.add(publish(t, "replay", "--library", library, trace("gnutls-tls13-p256")).done)
	}
	close(stop)
	if err := <-stopped; err != nil {
		t.Fatalf("the load ended: %v", err)
	}
	c, _ := load.finish(t)
	fired.add(c.done)

	result := a.stop(t, patience)
	if n := len(origins(check(t, a, result, fired))); n != 10 {
		t.Errorf("contexts of %d libraries, want 10", n)
	}
	if result.sum() != (number{}) {
		t.Errorf("lost %+v", result.lost)
	}
}

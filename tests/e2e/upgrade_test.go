// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// TestUpgradesUnderLoadLoseNothing replaces a library twenty times, while a
// program goes on firing through the first of its files and others start a
// second after each replacement.
func TestUpgradesUnderLoadLoseNothing(t *testing.T) {
	const upgrades = 20
	library := filepath.Join(t.TempDir(), "libx.so")
	copyFile(t, library, publisher("libreplay.so"))
	a := startAgent(t, setup{libraries: []string{library}})
	load := start(t, "replay", "--library", library, "--fresh-ids",
		"--rate", "2000", "--duration", fmt.Sprint(upgrades+5), trace("gnutls-tls13-p256"))
	var fired number
	for i := range upgrades {
		copyFile(t, library, publisher(fmt.Sprintf("libreplay%d.so", i%9+1)))
		time.Sleep(time.Second)
		fired.add(publish(t, "replay", "--library", library, trace("gnutls-tls13-p256")).done)
	}
	c, _ := load.finish(t)
	fired.add(c.done)

	said := a.stop(t, patience)
	if n := len(origins(check(t, a, said, fired))); n != 10 {
		t.Errorf("contexts of %d libraries, want 10", n)
	}
	if said.sum() != (number{}) {
		t.Errorf("lost %+v", said.lost)
	}
}

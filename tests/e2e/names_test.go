// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"path/filepath"
	"strings"
	"testing"
)

// Events have the build-id of their library. Each segment with events also has its name.
func TestLibrariesAreNamedInEverySegment(t *testing.T) {
	library := publisher("libreplay.so")
	a, socket := startListening(t, setup{libraries: []string{library}})
	for range 2 {
		publish(t, "replay", "--library", library, trace("gnutls-tls13-p256"))
		crauctl(t, "flush", "--socket", socket)
		publish(t, "replay", "--library", library, trace("gnutls-tls13-p256"))
		crauctl(t, "rotate", "--socket", socket)
	}
	a.terminate(t, patience)
	segmentsWithEvents := 0
	for _, file := range segments(t, a.log) {
		named, events := 0, false
		log := decode(t, file, decompress(t, file))
		for i := range log {
			g := &log[i]
			events = events || !g.metadata()
			if name := g.value("crau::library"); name != nil {
				named++
				if id, _ := g.value("crau::build_id").([]byte); name != "libreplay.so" || string(id) != string(buildID(t, library)) || !g.metadata() {
					t.Errorf("a library is named %v, with the build-id %x", name, id)
				}
			}
		}
		if events {
			segmentsWithEvents++
		}
		if events != (named == 1) {
			t.Errorf("%s names %d libraries", filepath.Base(file), named)
		}
	}
	if segmentsWithEvents != 2 {
		t.Errorf("%d segments have events, want 2", segmentsWithEvents)
	}
	shown := crauctl(t, "query", "-q", "--directory", a.log, "-o", "verbose")
	if contexts, named := strings.Count(shown, "origin="), strings.Count(shown, "crau::library=libreplay.so"); named == 0 || named != contexts {
		t.Errorf("%d of %d contexts name their library:\n%s", named, contexts, shown)
	}
	if plain := crauctl(t, "query", "-q", "--directory", a.log, "-o", "json-pretty"); strings.Contains(plain, "crau::library") {
		t.Error("the output form of the public project has names of libraries")
	}
}

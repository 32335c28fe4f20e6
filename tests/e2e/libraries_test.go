// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// copyFile copies a file. Programs that have the old file at the destination open keep it.
func copyFile(t *testing.T, to, from string) {
	t.Helper()
	needRecording(t)
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to+".new", b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(to+".new", to); err != nil {
		t.Fatal(err)
	}
}

// origins counts the contexts opened in a log by the build-id of the library,
// in hex.
func origins(log []group) map[string]int {
	found := map[string]int{}
	for i := range log {
		if !log[i].metadata() && log[i].opens() != nil {
			found[fmt.Sprintf("%x", log[i].opens().Origin)]++
		}
	}
	return found
}

func TestLibrariesAreRecordedSideBySideUnderTheirOwnBuildIDs(t *testing.T) {
	libraries := []string{publisher("libreplay.so"), publisher("libreplay1.so"), publisher("libreplay2.so")}
	a := startAgent(t, setup{libraries: libraries})
	var fired number
	var running []*process
	for _, library := range libraries {
		running = append(running, start(t, "replay", "--library", library, "--wait", "--count", "20", trace("gnutls-tls13-p256")))
	}
	for _, p := range running {
		p.fire(t)
	}
	for _, p := range running {
		c, _ := p.finish(t)
		fired.add(c.done)
	}
	found := origins(check(t, a, a.stop(t, patience), fired))
	opened := 0
	for _, h := range readTrace(t, "gnutls-tls13-p256") {
		if h.opens() {
			opened += 20
		}
	}
	for _, library := range libraries {
		if n := found[fmt.Sprintf("%x", buildID(t, library))]; n != opened {
			t.Errorf("%d contexts are of %s, want %d", n, library, opened)
		}
	}
	if len(found) != len(libraries) {
		t.Errorf("contexts have the origins %v", found)
	}
}

func TestAGlobSelectsLibraries(t *testing.T) {
	dir := t.TempDir()
	copyFile(t, filepath.Join(dir, "liba.so"), publisher("libreplay.so"))
	copyFile(t, filepath.Join(dir, "libb.so"), publisher("libreplay1.so"))
	a := startAgent(t, setup{libraries: []string{filepath.Join(dir, "lib*.so")}})
	fired := publish(t, "replay", "--library", filepath.Join(dir, "liba.so"), trace("gnutls-tls12")).done
	fired.add(publish(t, "replay", "--library", filepath.Join(dir, "libb.so"), trace("gnutls-tls12")).done)
	if found := origins(check(t, a, a.stop(t, patience), fired)); len(found) != 2 {
		t.Errorf("contexts have the origins %v, want two", found)
	}
}

func TestAReplacedLibraryIsRecordedAlongWithTheOldOne(t *testing.T) {
	library := filepath.Join(t.TempDir(), "libx.so")
	copyFile(t, library, publisher("libreplay.so"))
	old := start(t, "replay", "--library", library, "--commands", trace("gnutls-tls13-p256"))
	a := startAgent(t, setup{libraries: []string{library}})
	before := old.run(t, 1)

	copyFile(t, library, publisher("libreplay1.so"))
	waitFor(t, "the agent to attach to the new file", func() bool { return a.logged("attached", library) == 2 })
	after := old.run(t, 1)
	fired := publish(t, "replay", "--library", library, trace("gnutls-tls13-p256")).done
	c, _ := old.finish(t)
	fired.add(c.done)

	found := origins(check(t, a, a.stop(t, patience), fired))
	opened := 0
	for _, h := range readTrace(t, "gnutls-tls13-p256") {
		if h.opens() {
			opened++
		}
	}
	if before != after {
		t.Errorf("the old process fired %d hits, then %d", before, after)
	}
	if n := found[fmt.Sprintf("%x", buildID(t, publisher("libreplay.so")))]; n != 2*opened {
		t.Errorf("%d contexts of the old library, want %d", n, 2*opened)
	}
	if n := found[fmt.Sprintf("%x", buildID(t, publisher("libreplay1.so")))]; n != opened {
		t.Errorf("%d contexts of the new library, want %d", n, opened)
	}
}

func TestALibraryReplacedThroughASymlinkIsRecorded(t *testing.T) {
	needRecording(t)
	cases := map[string]struct {
		// The links, each to the next; the last is the file.
		links []string
		// replaced is the index of the replaced link, or of the file.
		replaced int
	}{
		"the file, in the same directory":  {[]string{"lib/libx.so.1", "lib/libx.so.1.0"}, 1},
		"the file, in another directory":   {[]string{"lib/libx.so.1", "real/libx.so.1.0"}, 1},
		"the file, after two links":        {[]string{"lib/libx.so", "lib/libx.so.1", "real/libx.so.1.0"}, 2},
		"the link":                         {[]string{"lib/libx.so.1", "real/libx.so.1.0"}, 0},
		"the second link":                  {[]string{"lib/libx.so", "lib/libx.so.1", "real/libx.so.1.0"}, 1},
		"a link into an unknown directory": {[]string{"lib/libx.so", "other/libx.so.1", "real/libx.so.1.0"}, 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			needRecording(t)
			dir := t.TempDir()
			var paths []string
			for _, link := range c.links {
				path := filepath.Join(dir, link)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				paths = append(paths, path)
			}
			last := len(paths) - 1
			copyFile(t, paths[last], publisher("libreplay.so"))
			for i := range last {
				to, err := filepath.Rel(filepath.Dir(paths[i]), paths[i+1])
				if err == nil {
					err = os.Symlink(to, paths[i])
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			a := startAgent(t, setup{libraries: []string{paths[0]}})
			fired := publish(t, "replay", "--library", paths[0], trace("gnutls-tls12")).done
			if c.replaced == last {
				copyFile(t, paths[last], publisher("libreplay1.so"))
			} else {
				renewed := filepath.Join(dir, "renewed")
				if err := os.Mkdir(renewed, 0o755); err != nil {
					t.Fatal(err)
				}
				copyFile(t, filepath.Join(renewed, "libnew.so"), publisher("libreplay1.so"))
				link := filepath.Join(dir, "link")
				if err := os.Symlink(filepath.Join(renewed, "libnew.so"), link); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(link, paths[c.replaced]); err != nil {
					t.Fatal(err)
				}
			}
			waitFor(t, "the agent to attach to the new file", func() bool { return a.logged("attached", paths[0]) == 2 })
			fired.add(publish(t, "replay", "--library", paths[0], trace("gnutls-tls12")).done)
			if found := origins(check(t, a, a.stop(t, patience), fired)); len(found) != 2 {
				t.Errorf("contexts have the origins %v, want two", found)
			}
		})
	}
}

func TestALibraryThatAppearsLaterIsRecorded(t *testing.T) {
	dir := t.TempDir()
	present, later := filepath.Join(dir, "liba.so"), filepath.Join(dir, "libb.so")
	copyFile(t, present, publisher("libreplay.so"))
	a := startAgent(t, setup{libraries: []string{filepath.Join(dir, "*.so")}})
	copyFile(t, later, publisher("libreplay1.so"))
	waitFor(t, "the agent to attach to the file", func() bool { return a.logged("attached", later) == 1 })
	fired := publish(t, "replay", "--library", later, trace("gnutls-tls12")).done
	check(t, a, a.stop(t, patience), fired)
}

// badFiles makes files that cannot be recorded, and returns them by their defect.
func badFiles(t *testing.T) map[string]string {
	t.Helper()
	dir := t.TempDir()
	good, err := os.ReadFile(publisher("libreplay.so"))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"does not exist": filepath.Join(dir, "missing.so"),
		"not ELF":        filepath.Join(dir, "text.so"),
		"empty":          filepath.Join(dir, "empty.so"),
		"truncated":      filepath.Join(dir, "cut.so"),
		"a directory":    dir,
		"without probes": program("crauctl"),
	}
	for defect, content := range map[string][]byte{"not ELF": []byte("not an ELF file at all\n"), "empty": nil, "truncated": good[:100]} {
		if err := os.WriteFile(files[defect], content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestABadFileAmongLibrariesIsReportedAndTheOthersAreRecorded(t *testing.T) {
	needRecording(t)
	for defect, file := range badFiles(t) {
		t.Run(defect, func(t *testing.T) {
			a := startAgent(t, setup{libraries: []string{file, publisher("libreplay.so")}})
			fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls12"))
			check(t, a, a.stop(t, patience), fired.done)
			if !strings.Contains(a.stderr.String(), file) {
				t.Errorf("the agent does not name %s", file)
			}
		})
	}
}

// waiting is the warning of an agent without a library to record.
const waiting = "nothing is recorded: no library with probes was found; waiting for one"

func TestAnAgentWithOnlyBadFilesWaitsAndReportsThem(t *testing.T) {
	needRecording(t)
	files := badFiles(t)
	for defect, file := range files {
		t.Run(defect, func(t *testing.T) {
			a := startAgent(t, setup{libraries: []string{file}})
			waitFor(t, "the agent to warn", func() bool { return a.logged(waiting) > 0 })
			check(t, a, a.stop(t, patience), number{})
			if !strings.Contains(a.stderr.String(), "cannot attach to "+file) || a.logged(waiting) != 1 {
				t.Errorf("want %q, and once %q, in:\n%s", "cannot attach to "+file, waiting, a.stderr)
			}
		})
	}
	t.Run("all of them", func(t *testing.T) {
		var all []string
		for _, file := range files {
			all = append(all, file)
		}
		slices.Sort(all)
		a := startAgent(t, setup{libraries: all})
		a.stop(t, patience)
		for _, file := range all {
			if !strings.Contains(a.stderr.String(), file) {
				t.Errorf("%s is not named in:\n%s", file, a.stderr)
			}
		}
	})
}

func TestAnAgentWithoutLibrariesRecordsOneThatAppears(t *testing.T) {
	needRecording(t)
	for name, before := range map[string]string{"no file before": "", "a file without probes before": program("crauctl")} {
		t.Run(name, func(t *testing.T) {
			library := filepath.Join(t.TempDir(), "libx.so")
			if before != "" {
				copyFile(t, library, before)
			}
			a, socket := startListening(t, setup{libraries: []string{library}})
			waitFor(t, "the agent to warn", func() bool { return a.logged(waiting) == 1 })
			if s := statusOf(t, socket); len(s.Libraries) != 1 || !strings.Contains(s.Libraries[0].Error, "cannot attach to "+library) {
				t.Errorf("the status lacks the error of the library: %+v", s.Libraries)
			}
			copyFile(t, library, publisher("libreplay.so"))
			waitFor(t, "the agent to attach", func() bool { return a.logged("attached", library) == 1 })
			fired := publish(t, "replay", "--library", library, trace("gnutls-tls12")).done
			check(t, a, a.stop(t, patience), fired)
		})
	}
}

func TestAFileWithoutProbesIsReported(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{program("crauctl")}})
	want := fmt.Sprintf("cannot attach to %s: it has no probe of provider crypto_auditing", program("crauctl"))
	a.stop(t, patience)
	if !strings.Contains(a.stderr.String(), want) {
		t.Errorf("no %q in:\n%s", want, a.stderr)
	}
}

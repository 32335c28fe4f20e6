// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"crypto-auditing/tests/machine"
)

// sinceBoot returns the time by the clock of the log's entries.
func sinceBoot(t *testing.T) uint64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		t.Fatal(err)
	}
	return uint64(now.Nano())
}

// unrecordedLibraries returns the notices of libraries that were not recorded,
// by reason.
func unrecordedLibraries(t *testing.T, log []group, library string) map[string][]group {
	t.Helper()
	found := map[string][]group{}
	for _, g := range log {
		if reason, ok := g.value("crau::unrecorded_reason").(string); ok && g.metadata() && g.value("crau::library") != nil {
			if g.value("crau::library") != library {
				t.Errorf("the notice is about the library %v, want %s", g.value("crau::library"), library)
			}
			found[reason] = append(found[reason], g)
		}
	}
	return found
}

// overwrite copies a file onto another in place, as cp(1) does.
func overwrite(t *testing.T, to, from string) {
	t.Helper()
	if output, err := exec.Command("cp", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cannot copy: %v\n%s", err, output)
	}
}

func TestAFileOverwrittenInPlaceKeepsNoBreakpoints(t *testing.T) {
	needRecording(t)
	layouts := []string{publisher("libpadded1.so"), publisher("libpadded50.so"), publisher("libpadded333.so")}
	for name, flags := range profiles {
		t.Run(name, func(t *testing.T) {
			needProfile(t, name)
			library := filepath.Join(t.TempDir(), "libx.so")
			copyFile(t, library, layouts[0])
			a := startAgent(t, setup{libraries: []string{library}, flags: flags})
			var fired number
			const files = 7
			for file := range files {
				layout := layouts[file%len(layouts)]
				if file > 0 {
					overwrite(t, library, layout)
					// At once, and while the agent attaches again.
					for range 3 {
						if output, err := exec.Command(publisher("unchanged"), library).CombinedOutput(); err != nil {
							t.Fatalf("after the library was overwritten %d times: %v\n%s", file, err, output)
						}
					}
				}
				waitFor(t, "the agent to attach", func() bool { return a.logged("attached", library) == file+1 })
				output, err := exec.Command(publisher("unchanged"), library).CombinedOutput()
				if err != nil || string(output) == "probes 0\n" {
					t.Fatalf("after the library was overwritten %d times: %v\n%s", file, err, output)
				}
				fired.add(publish(t, "replay", "--library", library, trace("gnutls-tls12")).done)
			}
			log := check(t, a, a.stop(t, patience), fired)
			notices := unrecordedLibraries(t, log, "libx.so")
			if len(notices) != 1 || len(notices["library-overwritten"]) != files-1 {
				t.Errorf("the notices of %d overwritten files are %v", files-1, notices)
			}
			for i, g := range notices["library-overwritten"] {
				if id, ok := g.value("crau::build_id").([]byte); !ok || string(id) != string(buildID(t, layouts[(i+1)%len(layouts)])) {
					t.Errorf("notice %d has the build-id %x", i, id)
				}
			}
			if n := a.logged("a library was overwritten in place", library); n != files-1 {
				t.Errorf("the agent warned %d times, want %d", n, files-1)
			}
		})
	}
}

// A writer waits until the agent releases its lease, and the agent attaches again only when
// the writer has closed the file.
func TestTheAgentDoesNotAttachAFileThatIsOpenForWriting(t *testing.T) {
	library := filepath.Join(t.TempDir(), "libx.so")
	copyFile(t, library, publisher("libpadded1.so"))
	a := startAgent(t, setup{libraries: []string{library}})
	fired := publish(t, "replay", "--library", library, trace("gnutls-tls12")).done
	before := sinceBoot(t)
	f, err := os.OpenFile(library, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	opened := sinceBoot(t)
	// Hits are not recorded meanwhile, and the log must report the gap.
	publish(t, "replay", "--library", library, trace("gnutls-tls12"))
	if output, err := exec.Command(publisher("unchanged"), library).CombinedOutput(); err != nil || string(output) != "probes 0\n" {
		t.Errorf("while the file is open for writing: %v\n%s", err, output)
	}
	closing := sinceBoot(t)
	f.Close()
	waitFor(t, "the agent to attach again", func() bool { return a.logged("attached", library) == 2 })
	after := sinceBoot(t)
	fired.add(publish(t, "replay", "--library", library, trace("gnutls-tls12")).done)
	log := check(t, a, a.stop(t, patience), fired)
	notices := unrecordedLibraries(t, log, "libx.so")["library-overwritten"]
	if len(notices) != 1 {
		t.Fatalf("%d notices, want one", len(notices))
	}
	if g := notices[0]; *g.Start < before || *g.Start > opened || *g.End < closing || *g.End > after {
		t.Errorf("not recorded from %d to %d, but opened between %d and %d, and attached between %d and %d",
			*g.Start, *g.End, before, opened, closing, after)
	}
}

// Without CAP_LEASE a file of another user cannot be leased.
func TestWithoutALeaseAnOverwrittenFileIsDetachedAndReported(t *testing.T) {
	needRecording(t)
	if os.Geteuid() != 0 {
		t.Skip("starting the agent as another user needs root")
	}
	if profile := profileOf(); profile != "uprobe_multi" {
		t.Skipf("this kernel attaches by %s, which needs CAP_SYS_ADMIN", profile)
	}
	const nobody = 65534
	log, directory := openDirectory(t), openDirectory(t)
	if err := os.Chown(log, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(directory, "libx.so")
	copyFile(t, library, publisher("libpadded1.so"))
	socket := filepath.Join(log, "socket")
	a := startAgent(t, setup{
		libraries: []string{library}, log: log, flags: []string{"--varlink", socket},
		process: &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{machine.CapBPF, machine.CapPerfmon},
		},
	})
	waitFor(t, "the agent to attach", func() bool { return a.logged("attached", library) == 1 })
	waitFor(t, "the agent to warn that it has no lease", func() bool { return strings.Contains(a.stderr.String(), "cannot take a lease") })
	fired := publish(t, "replay", "--library", library, trace("gnutls-tls12")).done
	overwrite(t, library, publisher("libpadded50.so"))
	// The agent may attach to a partial copy first, and notice the change again.
	waitFor(t, "the agent to notice", func() bool { return a.logged("a library was overwritten in place", library) >= 1 })
	waitFor(t, "the agent to attach again", func() bool {
		return a.logged("attached", library) == a.logged("a library was overwritten in place", library)+1
	})
	if output, err := exec.Command(publisher("unchanged"), library).CombinedOutput(); err != nil || string(output) == "probes 0\n" {
		t.Errorf("after the agent attached again: %v\n%s", err, output)
	}
	fired.add(publish(t, "replay", "--library", library, trace("gnutls-tls12")).done)
	entries := check(t, a, a.stop(t, patience), fired)
	if notices := unrecordedLibraries(t, entries, "libx.so"); len(notices["library-overwritten"]) == 0 {
		t.Errorf("the notices are %v, want one of an overwritten library", notices)
	}
}

// rpm(8) and dpkg(1) write a new file next to the old one, and then rename it.
func TestAFileIsAttachedBeforeItIsRenamedToALibrary(t *testing.T) {
	needRecording(t)
	for name, temporary := range map[string]string{
		"rpm": "libx.so.3;692b8f3c", "dpkg": "libx.so.3.dpkg-new", "rsync": ".libx.so.3.AbCdEf", "by hand": "libx.so.3.new",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			library, temporary := filepath.Join(dir, "libx.so.3"), filepath.Join(dir, temporary)
			copyFile(t, library, publisher("libreplay.so"))
			a := startAgent(t, setup{libraries: []string{filepath.Join(dir, "libx.so*")}})
			fired := publish(t, "replay", "--library", library, trace("gnutls-tls12")).done
			const updates = 3
			for update := range updates {
				overwrite(t, temporary, publisher([]string{"libreplay1.so", "libreplay2.so", "libreplay3.so"}[update]))
				waitFor(t, "the agent to attach", func() bool {
					return a.logged("attached to a file that may become a library", temporary)+a.logged("attached", temporary) == update+1
				})
				if err := os.Rename(temporary, library); err != nil {
					t.Fatal(err)
				}
				fired.add(publish(t, "replay", "--library", library, trace("gnutls-tls12")).done)
			}
			waitFor(t, "the agent to notice the name", func() bool { return a.logged("attached", "library="+library) >= 2 })
			log := check(t, a, a.stop(t, patience), fired)
			if found := origins(log); len(found) != updates+1 {
				t.Errorf("contexts have the origins %v, want %d", found, updates+1)
			}
			if name == "by hand" {
				// The glob matches the temporary name: the file is a library, too.
				return
			}
			if notices := unrecordedLibraries(t, log, "libx.so.3"); len(notices) != 0 {
				t.Errorf("the library was always recorded, but the log has the notices %v", notices)
			}
		})
	}
}

func TestAReplacedLibraryIsRecordedOrTheLogReportsTheGap(t *testing.T) {
	dir := t.TempDir()
	library := filepath.Join(dir, "libx.so")
	copyFile(t, library, publisher("libreplay.so"))
	a := startAgent(t, setup{libraries: []string{library}})
	type run struct {
		from, to uint64
		fired    number
	}
	var runs []run
	var fired number
	const updates = 20
	for update := range updates {
		copyFile(t, library, publisher(fmt.Sprintf("libreplay%d.so", update%9+1)))
		// At once, and a little later.
		for range 3 {
			r := run{from: sinceBoot(t)}
			r.fired = publish(t, "replay", "--library", library, trace("gnutls-tls12")).done
			r.to = sinceBoot(t)
			runs = append(runs, r)
			fired.add(r.fired)
		}
	}
	waitFor(t, "the agent to attach to the last file", func() bool { return a.logged("attached", library) >= 2 })
	result := a.stop(t, patience)
	log := readLog(t, a.log)
	notices := unrecordedLibraries(t, log, "libx.so")
	var least number
	for _, r := range runs {
		covered := false
		for _, g := range notices["library-replaced"] {
			covered = covered || *g.Start < r.to && *g.End > r.from
		}
		if !covered {
			least.add(r.fired)
		}
	}
	if result.recorded.hits < least.hits || result.recorded.hits > fired.hits || len(result.lost) != 0 {
		t.Errorf("%d hits were recorded of %d fired, of which %d were fired outside the gaps in the log; lost %v",
			result.recorded.hits, fired.hits, least.hits, result.lost)
	}
	for _, g := range notices["library-replaced"] {
		if *g.End-*g.Start > uint64(patience) {
			t.Errorf("not recorded for %v", time.Duration(*g.End-*g.Start))
		}
	}
	t.Logf("%d of %d hits recorded, %d notices", result.recorded.hits, fired.hits, len(notices["library-replaced"]))
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/tests/machine"
)

func TestABadConfigurationIsRefusedWithFileAndLine(t *testing.T) {
	needRecording(t)
	cases := map[string]struct {
		config  string
		line    int
		message string
	}{
		"an unknown key":          {"library = []\nlibrarry = []\n", 2, "librarry"},
		"a wrong type":            {"\n\nlibrary = 5\n", 3, "library"},
		"a bad value":             {"coalesce_window = \"soon\"\n", 1, "soon"},
		"an unknown size":         {"\nmax_size = \"1 gigabyte\"\n", 2, "is not a valid size: use for example 512M, 4G or 10%"},
		"an unknown unit":         {"max_age = \"30 fortnights\"\n", 1, "is not a valid duration: use for example 30d, 2weeks"},
		"invalid TOML":            {"# a comment\nlibrary = [\n", 2, ""},
		"a key of the other tool": {"log_file = \"/x\"\n", 1, "log_dir"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := launchAgent(t, setup{libraries: []string{publisher("libreplay.so")}, config: c.config})
			status, result := a.exit(t), a.stderr.String()
			if where := fmt.Sprintf("agent.conf:%d: ", c.line); status != 78 || !strings.Contains(result, where) || !strings.Contains(result, c.message) {
				t.Errorf("exit status %d, want 78, and %q and %q in:\n%s", status, where, c.message, result)
			}
		})
	}
}

func TestBadUsageHasItsOwnExitStatus(t *testing.T) {
	needRecording(t)
	for name, flags := range map[string][]string{
		"an unknown flag":    {"--libs", "x"},
		"an argument":        {"x"},
		"an unknown profile": {"--profile", "kprobe"},
	} {
		t.Run(name, func(t *testing.T) {
			a := launchAgent(t, setup{libraries: []string{publisher("libreplay.so")}, flags: flags})
			if status := a.exit(t); status != 2 {
				t.Errorf("exit status %d, want 2:\n%s", status, a.stderr)
			}
		})
	}
}

func TestEverythingFiredBeforeSIGTERMIsInTheLog(t *testing.T) {
	// With a window this long the agent writes nothing before it stops.
	a := startAgent(t, setup{libraries: []string{publisher("libreplay.so")}, flags: []string{"--coalesce-window", "1m"}})
	p := start(t, "replay", "--library", publisher("libreplay.so"), "--commands", trace("gnutls-tls13-p256"))
	p.run(t, 100)
	result := a.stop(t, patience)
	fired, _ := p.finish(t)
	log := check(t, a, result, fired.done)
	if len(result.lost) != 0 {
		t.Errorf("lost %v", result.lost)
	}
	compareAttributes(t, log)
}

func TestAHitWithoutDataIsCounted(t *testing.T) {
	needRecording(t)
	// Arrays without readable elements have no entry in the log.
	cases := map[string]struct {
		count string
		fired number
	}{
		"an empty array":      {"0", number{1, 0}},
		"an unreadable array": {"3", number{1, 3}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := compile(t, "array")
			a := startAgent(t, setup{libraries: []string{file}})
			if output, err := exec.Command(file, c.count).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, output)
			}
			check(t, a, a.stop(t, patience), c.fired)
		})
	}
}

func TestALossIsLoggedWithoutFurtherEvents(t *testing.T) {
	file := compile(t, "array")
	a := startAgent(t, setup{libraries: []string{file}})
	if output, err := exec.Command(file, "3").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	waitFor(t, "the loss in the log", func() bool {
		return bytes.Contains(readable(t, a.log), []byte("crau::lost_events"))
	})
	check(t, a, a.stop(t, patience), number{1, 3})
}

// compile compiles a program, or a library, of testdata.
func compile(t *testing.T, name string, flags ...string) string {
	t.Helper()
	needRecording(t)
	file := filepath.Join(t.TempDir(), name)
	arguments := append([]string{"-std=gnu11", "-Wall", "-Wextra", "-O2", "-fPIC", "-DCRAU_ENABLE", "-Wl,--build-id=none",
		"-I", filepath.Join(built.root, "bpf"), "-o", file, filepath.Join("testdata", name+".c"), "-pthread"}, flags...)
	if output, err := exec.Command("cc", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("cannot compile %s: %v\n%s", name, err, output)
	}
	return file
}

func TestTheAgentDoesNotRecordItself(t *testing.T) {
	const hits = 100 // of each process with the library
	library := compile(t, "self", "-shared")
	own, other := filepath.Join(t.TempDir(), "own"), filepath.Join(t.TempDir(), "other")
	a := startAgent(t, setup{libraries: []string{library}, environment: []string{"LD_PRELOAD=" + library, "SELF_FIRED=" + own}})
	process := exec.Command("cat")
	process.Env = append(os.Environ(), "LD_PRELOAD="+library, "SELF_FIRED="+other)
	stdin, err := process.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{"the agent": own, "another process": other} {
		waitFor(t, name+" to fire", func() bool {
			b, err := os.ReadFile(file)
			return err == nil && string(b) == fmt.Sprintf("%d\n", hits)
		})
	}
	stdin.Close()
	if err := process.Wait(); err != nil {
		t.Fatal(err)
	}
	check(t, a, a.stop(t, patience), number{hits, hits})
}

func TestTheAgentNeedsOnlyTwoCapabilities(t *testing.T) {
	needRecording(t)
	if os.Geteuid() != 0 {
		t.Skip("starting the agent as another user needs root")
	}
	if profile := profileOf(); profile != "uprobe_multi" {
		t.Skipf("this kernel attaches by %s, which needs CAP_SYS_ADMIN", profile)
	}
	const nobody = 65534
	log := openDirectory(t)
	if err := os.Chown(log, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	a := startAgent(t, setup{
		libraries: []string{publisher("libfresh.so"), publisher("handshake")}, log: log,
		process: &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{machine.CapBPF, machine.CapPerfmon},
		},
	})
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.command.Process.Pid))
	if want := fmt.Sprintf("\nCapEff:\t%016x\n", uint64(1)<<machine.CapBPF|1<<machine.CapPerfmon); err != nil || !strings.Contains(string(status), want) {
		t.Fatalf("the agent lacks the capabilities %q: %v\n%s", want, err, status)
	}
	fired := publish(t, "fresh").done
	fired.add(publish(t, "handshake").done)
	result := a.stop(t, patience)
	check(t, a, result, fired)
	if len(result.lost) != 0 {
		t.Errorf("lost %v", result.lost)
	}
}

func TestWithoutCapabilitiesTheAgentListsWhatItNeeds(t *testing.T) {
	needRecording(t)
	if os.Geteuid() != 0 {
		t.Skip("starting the agent as another user needs root")
	}
	const nobody = 65534
	log := openDirectory(t)
	if err := os.Chown(log, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	a := launchAgent(t, setup{
		libraries: []string{publisher("libfresh.so")}, log: log,
		process: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}},
	})
	if status := a.exit(t); status != 78 || !strings.Contains(a.stderr.String(), "CAP_BPF") {
		t.Errorf("exit status %d, want 78, and CAP_BPF in:\n%s", status, a.stderr)
	}
}

// It does not wait for a library, because it could not record any.
func TestAnAgentThatMayNotAttachFailsAndNamesTheRemedy(t *testing.T) {
	needRecording(t)
	if os.Geteuid() != 0 {
		t.Skip("starting the agent as another user needs root")
	}
	const nobody = 65534
	log := openDirectory(t)
	if err := os.Chown(log, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	a := launchAgent(t, setup{
		libraries: []string{publisher("libfresh.so"), "/missing.so"}, log: log, flags: []string{"--profile", "perf_event"},
		process: &syscall.SysProcAttr{
			Credential:  &syscall.Credential{Uid: nobody, Gid: nobody},
			AmbientCaps: []uintptr{machine.CapBPF, machine.CapPerfmon},
		},
	})
	if status := a.exit(t); status != 78 || !strings.Contains(a.stderr.String(), "perf-event.conf") {
		t.Errorf("exit status %d, want 78, and perf-event.conf in:\n%s", status, a.stderr)
	}
}

func TestASecondAgentOnALogIsRefused(t *testing.T) {
	s := setup{libraries: []string{publisher("libreplay.so")}, log: filepath.Join(t.TempDir(), "log")}
	a := startAgent(t, s)
	second := launchAgent(t, s)
	if status := second.exit(t); status != 1 || !strings.Contains(second.stderr.String(), s.log) {
		t.Errorf("exit status %d, want 1, and %s in:\n%s", status, s.log, second.stderr)
	}
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), trace("gnutls-tls12"))
	check(t, a, a.stop(t, patience), fired.done)
}

func TestSequencesContinueAfterARestartOfTheAgent(t *testing.T) {
	s := setup{libraries: []string{publisher("libreplay.so")}, log: filepath.Join(t.TempDir(), "log")}
	var fired number
	var runs []totals
	for range 3 {
		a := startAgent(t, s)
		fired.add(publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "10", trace("gnutls-tls13-p256")).done)
		runs = append(runs, a.stop(t, patience))
	}
	log := checkRuns(t, s.log, runs, fired)
	all := chunks(t, s.log)
	next := uint64(1)
	for i, c := range all {
		if c.first != next || c.store != all[0].store {
			t.Errorf("chunk %d of store %x begins with entry %d, want %d of %x", i, c.store, c.first, next, all[0].store)
		}
		next = c.first + c.entries
	}
	if next != uint64(len(log))+1 {
		t.Errorf("the headers have %d entries, the log has %d", next-1, len(log))
	}
	// There is one more if the clock was set.
	if n := len(segments(t, s.log)); n < 3 {
		t.Errorf("three runs made %d segments", n)
	}
	// The agent uses another key for the ids in each run.
	ids := map[string]bool{}
	for i := range log {
		if g := &log[i]; !g.metadata() && g.value("name") == "tls::handshake_client" {
			ids[g.id()] = true
		}
	}
	if len(ids) != 3 {
		t.Errorf("one context of the process has %d ids in three runs", len(ids))
	}
}

func TestTheNextAgentContinuesTheLogOfAKilledOne(t *testing.T) {
	s := setup{libraries: []string{publisher("libreplay.so")}, log: filepath.Join(t.TempDir(), "log")}
	first := startAgent(t, s)
	fired := publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "10", trace("gnutls-tls13-p256")).done
	waitFor(t, "the log to have all fired events", func() bool {
		return countEvents(decode(t, s.log, readable(t, s.log))) == fired.events
	})
	first.command.Process.Kill()
	<-first.exited

	second := startAgent(t, s)
	fired.add(publish(t, "replay", "--library", publisher("libreplay.so"), "--count", "10", trace("gnutls-tls13-p256")).done)
	second.stop(t, patience)
	if n := countEvents(readSegments(t, s.log, decompressWhole)); n != fired.events {
		t.Errorf("the log has %d events, want %d", n, fired.events)
	}
	next := uint64(1)
	for i, c := range chunks(t, s.log) {
		if c.first != next {
			t.Errorf("chunk %d begins with entry %d, want %d", i, c.first, next)
		}
		next = c.first + c.entries
	}
}

func TestTheHeadersHaveTheLossesThatTheAgentCounts(t *testing.T) {
	a := startAgent(t, setup{libraries: []string{publisher("hostile")}, config: `ring_size = "4K"`})
	publish(t, "hostile", "--flood", "--count", "20000")
	result := a.stop(t, patience)
	var lost uint64
	for _, c := range chunks(t, a.log) {
		lost += c.lost
	}
	if want := result.sum().events; lost != want || want == 0 {
		t.Errorf("the headers have %d lost events, the agent counted %d", lost, want)
	}
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/tls"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"crypto-auditing/tests/machine"
)

// excludedUnit is a control group that a rule excludes.
const excludedUnit = "crau-excluded-1.service"

// Rules exclude programs by executable, user and unit, both their probes and their
// handshakes at sockets. Each excluded hit and handshake is counted.
func TestExcludedProgramsAreCountedAndNotRecorded(t *testing.T) {
	const nobody = 65534
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := func(rules ...string) string {
		return fmt.Sprintf("sources = [\"usdt\", \"wire\"]\nexclude = [%s]\n", strings.Join(rules, ", "))
	}
	quoted := func(rule string) string { return fmt.Sprintf("%q", rule) }
	rules := []string{"executable=hidden-*", fmt.Sprintf("user=%d", nobody), "unit=crau-excluded-*", "executable=" + filepath.Base(self)}
	library := publisher("libreplay.so")
	a, socket := startListening(t, setup{libraries: []string{library}, config: config(quoted(rules[0]), quoted(rules[1]), quoted(rules[2]), quoted(rules[3]))})

	replay, err := os.ReadFile(publisher("replay"))
	if err != nil {
		t.Fatal(err)
	}
	hidden := filepath.Join(openDirectory(t), "hidden-replay")
	if err := os.WriteFile(hidden, replay, 0o755); err != nil {
		t.Fatal(err)
	}
	fire := func(program string, as *syscall.SysProcAttr) number {
		t.Helper()
		c, _ := startAs(t, program, as, "--library", library, "--count", "3", trace("gnutls-tls13-p256")).finish(t)
		return c.done
	}
	shown := fire(publisher("replay"), nil)
	want := []uint64{
		fire(hidden, nil).hits, fire(publisher("replay"), &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}).hits,
		fire(publisher("replay"), machine.InUnit(t, excludedUnit)).hits, 0,
	}
	state := shakeHands(t, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}})
	crauctl(t, "flush", "--socket", socket)
	s := statusOf(t, socket)
	if s.Hits != shown.hits || s.HitsExcluded != want[0]+want[1]+want[2] || s.HitsSeen != s.Hits+s.HitsExcluded {
		t.Errorf("hits: %d seen, %d recorded, %d excluded; want %d recorded, %v excluded", s.HitsSeen, s.Hits, s.HitsExcluded, shown.hits, want)
	}
	for i, x := range s.Exclusions {
		if x.Rule != rules[i] || x.Hits != want[i] || (i == 3) != (x.Handshakes == 2) {
			t.Errorf("exclusion %d is %+v, want %d hits", i, x, want[i])
		}
	}
	if len(s.Exclusions) != len(rules) {
		t.Errorf("%d exclusions, want %d", len(s.Exclusions), len(rules))
	}
	for _, c := range s.Coverage {
		if c.Executable == filepath.Base(self) && (c.Excluded != 2 || c.Socket != 0) {
			t.Errorf("the coverage of this program is %+v", c)
		}
	}
	if text := crauctl(t, "status", "--socket", socket); !strings.Contains(text, "unit=crau-excluded-*: 0 handshakes, ") {
		t.Errorf("the status does not show the rules:\n%s", text)
	}

	// After a reload everything is recorded, once.
	if err := os.WriteFile(a.command.Args[4], []byte(config()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := connect(t, socket)
	p.call(t, "Reload", "")
	if r := p.reply(t); r.Error != "" {
		t.Fatalf("the agent cannot reload: %+v", r)
	}
	shown.add(fire(hidden, nil))
	shakeHands(t, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}})
	crauctl(t, "flush", "--socket", socket)
	if s := statusOf(t, socket); s.Hits != shown.hits || s.HitsExcluded != want[0]+want[1]+want[2] || len(s.Exclusions) > 0 {
		t.Errorf("after a reload: %d hits are recorded, %d excluded, by %v; want %d recorded", s.Hits, s.HitsExcluded, s.Exclusions, shown.hits)
	}
	a.terminate(t, patience)
	var sides, contexts int
	log := readLog(t, a.log)
	for i := range log {
		g := &log[i]
		if string(g.Executable) == filepath.Base(self) && g.Name == "tls::handshake" {
			sides++
			if v := g.value("tls::protocol_version"); v != int64(state.Version) {
				t.Errorf("a handshake of version %v is recorded", v)
			}
		}
		if slices.Contains([]string{"replay", "hidden-replay"}, string(g.Executable)) {
			contexts++
		}
	}
	if sides != 2 || contexts == 0 {
		t.Errorf("%d sides of handshakes and %d groups are in the log, want 2 of one handshake", sides, contexts)
	}
}

// Suspected relays are configured at start, and the limit of connections while the agent runs.
func TestSuspectedRelaysAndTheConnectionLimitAreConfigurable(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const text = "sources = [\"wire\"]\nsuspected_relays = [\"e2e*\"]\n"
	a, socket := startListening(t, setup{config: text})
	shakeHands(t, &tls.Config{})
	if err := os.WriteFile(a.command.Args[4], []byte(text+"connection_limit = 4\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := connect(t, socket)
	p.call(t, "Reload", "")
	if r := p.reply(t); r.Error != "" {
		t.Fatalf("the agent cannot reload: %+v", r)
	}
	// Each connection has two ends in this process, and one may begin in 250 ms.
	waitFor(t, "connections above the limit", func() bool {
		shakeHands(t, &tls.Config{})
		crauctl(t, "flush", "--socket", socket)
		return strings.Contains(crauctl(t, "status", "--socket", socket), "wire-rate-limit (kernel)")
	})
	a.terminate(t, patience)
	suspected := 0
	log := readLog(t, a.log)
	for i := range log {
		if g := &log[i]; g.Name == "tls::handshake" && string(g.Executable) == filepath.Base(self) {
			if v := g.value("tls::relay"); v != "suspected" {
				t.Errorf("tls::relay of a handshake is %v", v)
			}
			suspected++
		}
	}
	if suspected < 2 {
		t.Errorf("%d handshakes of this program are recorded", suspected)
	}
}

// The same rules exclude the operations of functions in stock libraries.
func TestExcludedProgramsAreNotRecordedByFunctions(t *testing.T) {
	const nobody = 65534
	needCommand(t, "openssl")
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	directory := openDirectory(t)
	if err := os.Chmod(directory, 0o777); err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(directory, "key")
	if output, err := exec.Command(path, "genpkey", "-algorithm", "ed25519", "-out", key).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if err := os.Chmod(key, 0o644); err != nil {
		t.Fatal(err)
	}
	library := machine.CopyLibraries(t, path, directory, "libcrypto.so.")[0]
	a, socket := startListening(t, setup{libraries: []string{library}, config: fmt.Sprintf("sources = [\"function\"]\nexclude = [\"executable=hidden-*\", \"user=%d\", \"unit=crau-excluded-*\"]\n", nobody)})
	for _, c := range []struct {
		name string
		as   *syscall.SysProcAttr
	}{
		{"shown-openssl", nil}, {"hidden-openssl", nil}, {"foreign-openssl", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}},
		{"unit-openssl", machine.InUnit(t, excludedUnit)},
	} {
		file := filepath.Join(directory, c.name)
		if err := os.WriteFile(file, binary, 0o755); err != nil {
			t.Fatal(err)
		}
		sign := exec.Command(file, "pkeyutl", "-sign", "-rawin", "-inkey", key, "-in", key)
		sign.Env = append(os.Environ(), "LD_LIBRARY_PATH="+directory)
		sign.SysProcAttr = c.as
		if output, err := sign.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, output)
		}
	}
	crauctl(t, "flush", "--socket", socket)
	s := statusOf(t, socket)
	if len(s.Exclusions) != 3 || s.HitsSeen != s.Hits+s.HitsExcluded {
		t.Errorf("hits: %d seen, %d recorded, %d excluded by %v", s.HitsSeen, s.Hits, s.HitsExcluded, s.Exclusions)
	}
	for _, x := range s.Exclusions {
		if x.Hits == 0 {
			t.Errorf("the rule %s excluded no hit", x.Rule)
		}
	}
	a.terminate(t, patience)
	recorded := map[string]bool{}
	log := readLog(t, a.log)
	for i := range log {
		if name := string(log[i].Executable); strings.HasSuffix(name, "-openssl") {
			recorded[name] = true
		}
	}
	if len(recorded) != 1 || !recorded["shown-openssl"] {
		t.Errorf("the recorded programs are %v", recorded)
	}
}

// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// commit010 is the commit of version 0.1.0.
const commit010 = "a081feda74137a55c4d7edbbc603d4f4b846d46f"

// programs010 builds programs of version 0.1.0 and returns their directory. It skips the
// test in a tarball or a shallow clone, which lack the source.
func programs010(t *testing.T) string {
	t.Helper()
	if err := exec.Command("git", "-C", built.root, "cat-file", "-e", commit010+"^{commit}").Run(); err != nil {
		t.Skip("the source of version 0.1.0 is not in this tree's history")
	}
	directory := t.TempDir()
	archive := exec.Command("git", "-C", built.root, "archive", commit010, "go.mod", "go.sum", "bpf", "dbus", "src")
	extract := exec.Command("tar", "-x", "-C", directory)
	pipe, err := archive.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	extract.Stdin = pipe
	err = extract.Start()
	if err == nil {
		err = errors.Join(archive.Run(), extract.Wait())
	}
	if err != nil {
		t.Fatalf("cannot extract version 0.1.0: %v", err)
	}
	build := exec.Command("go", "build", "-o", "bin/", "./src/cmd/crau-agent", "./src/cmd/crauctl")
	build.Dir = directory
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build version 0.1.0: %v\n%s", err, output)
	}
	return filepath.Join(directory, "bin")
}

// copy010 copies a log written by version 0.1.0.
func copy010(t *testing.T) (log string) {
	t.Helper()
	log = filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(log, 0o750); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(built.root, "tests/data/log-0.1.0/log")
	for from, to := range map[string]string{
		"audit-0000000000000001.cborseq.zst": "audit-0000000000000001.cborseq.zst",
		"audit-000000000000001e.cborseq.zst": "audit-000000000000001e.cborseq.zst",
		"lock":                               ".lock",
	} {
		copyFile(t, filepath.Join(log, to), filepath.Join(data, from))
	}
	return log
}

// shown returns the operations in the output of a crauctl for a log, one per line.
func shown(t *testing.T, crauctl, log string) (operations []string) {
	t.Helper()
	output, err := exec.Command(crauctl, "query", "--directory", log, "-o", "cat").CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", crauctl, err, output)
	}
	for line := range strings.Lines(string(output)) {
		// Skip the gaps that this version shows between the operations, and the offered
		// group that 0.1.0 shows.
		if name := regexp.MustCompile(`^\w+::\w+ (client|server)`).FindString(line); name != "" {
			operations = append(operations, name)
		}
	}
	return operations
}

func TestVersion010ReadsAndContinuesTheLogOfThisVersion(t *testing.T) {
	needRecording(t)
	old := programs010(t)
	log := copy010(t)
	library := publisher("libreplay.so")
	// Starts, a clean stop, a kill, losses by the rate limit, a removal.
	a := startAgent(t, setup{libraries: []string{library}, log: log})
	publish(t, "replay", "--library", library, trace("gnutls-tls12"))
	a.stop(t, patience)
	a = startAgent(t, setup{libraries: []string{library}, log: log, config: "rate_limit = 10\n"})
	publish(t, "replay", "--library", library, "--count", "3", trace("gnutls-tls12"))
	a.command.Process.Kill()
	<-a.exited
	a = startAgent(t, setup{libraries: []string{library}, log: log, config: "max_size = \"4K\"\n"})
	publish(t, "replay", "--library", library, trace("gnutls-tls13-p256"))
	a.stop(t, patience)

	operations := shown(t, program("crauctl"), log)
	if got := shown(t, filepath.Join(old, "crauctl"), log); len(got) == 0 || strings.Join(got, "\n") != strings.Join(operations, "\n") {
		t.Errorf("version 0.1.0 shows\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(operations, "\n"))
	}
	for _, command := range []string{"verify", "log-info"} {
		if output, err := exec.Command(filepath.Join(old, "crauctl"), command, "--directory", log).CombinedOutput(); err != nil {
			t.Errorf("%s of version 0.1.0: %v\n%s", command, err, output)
		}
	}

	// After a downgrade, the agent of version 0.1.0 continues the log; then comes an upgrade.
	programs := built.bin
	built.bin = old
	defer func() { built.bin = programs }()
	a = startAgent(t, setup{libraries: []string{library}, log: log, version010: true})
	publish(t, "replay", "--library", library, trace("gnutls-tls12"))
	a.stop(t, patience)
	built.bin = programs
	a = startAgent(t, setup{libraries: []string{library}, log: log})
	a.stop(t, patience)
	if output, err := exec.Command(program("crauctl"), "verify", "--directory", log).CombinedOutput(); err != nil {
		t.Errorf("verify after a downgrade: %v\n%s", err, output)
	}
	if got := shown(t, program("crauctl"), log); len(got) <= len(operations) {
		t.Errorf("%d operations after a downgrade, %d before", len(got), len(operations))
	}
}

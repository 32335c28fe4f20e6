// SPDX-License-Identifier: Apache-2.0

// Package guide follows the documents for administrators to the letter. On a throw-away
// machine with a real systemd and only the sources of the project, it runs the commands
// that a new user would type, and compares the results with the documents.
//
// One shell of root in the directory of the sources follows the section "Install" of
// README.md and all of docs/admin-guide.md from top to bottom. In a block ```console, "# "
// begins a command of root, and "$ " a command of the user alice, who logs in again for it.
// The lines up to the next command are its output, except that numbers, times and ids may
// differ; "…" stands for anything. A command must succeed, unless "echo $?" comes next. A
// command that only reads is repeated for some time, as a reader would. After
// <!-- until Control-C --> the first command of a block runs until it has printed the shown
// output, and is then interrupted. A block ```toml, ```ini or ```js is a file, named by its
// first line. Comments, which are not rendered, have additional commands that bring about
// the described situation, <!-- run: COMMAND -->, or the reason why the next block cannot
// run here, <!-- not run: REASON -->. Every block is of one of these kinds.
package guide

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"crypto-auditing/tests/machine"
)

// sources is the directory of the sources on the machine.
const sources = "/usr/src/crypto-auditing"

func TestTheGuideWorksAsWritten(t *testing.T) {
	var documents []*document
	blocks, skipped := 0, 0
	for _, part := range []struct{ path, heading string }{
		{"../../README.md", "## Install"}, {"../../docs/admin-guide.md", ""},
	} {
		d := read(t, part.path, part.heading)
		documents = append(documents, d)
		blocks += d.blocks
		skipped += len(d.skipped)
		for place, reason := range d.skipped {
			t.Logf("%s is not run: %s", place, reason)
		}
	}
	t.Logf("%d of %d blocks are not run", skipped, blocks)
	if blocks < 30 || skipped*4 > blocks {
		t.Errorf("%d of %d blocks are not run, want at least 30 blocks and at most a quarter of them not run", skipped, blocks)
	}
	if missing := machine.Missing(); missing != "" {
		t.Skip(missing)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("the guide's steps are for the Debian family")
	}

	// The machine is killed when this thread ends.
	runtime.LockOSThread()
	directory := t.TempDir()
	stage := filepath.Join(directory, "stage")
	copySources(t, filepath.Join(stage, sources))
	m, err := machine.Boot(filepath.Join(directory, "machine"), stage)
	if err != nil {
		t.Fatal(err)
	}
	defer m.PowerOff()
	if _, err := os.Stat(m.Path("/usr/bin/crauctl")); err == nil {
		t.Fatal("the project is already installed on this machine, so the test cannot prove that the guide installs it")
	}
	environment := network(t, m)

	shell := start(t, m, environment)
	for i, d := range documents {
		if i == 1 {
			// The steps of README.md have installed the project.
			everyday(t, m)
		}
		for _, s := range d.steps {
			if !follow(t, m, shell, s) {
				journal, _ := m.Try("journalctl", "-n", "40", "-o", "short-monotonic", "-u", "crypto-auditing-*")
				t.Fatalf("the remaining steps are not run; the journal:\n%s", journal)
			}
		}
	}
}

// copySources copies the sources without .git and the build directory.
func copySources(t *testing.T, directory string) {
	t.Helper()
	root, err := filepath.Abs(machine.Root)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		target := filepath.Join(directory, name)
		switch {
		case d.IsDir() && (name == ".git" || name == "build"):
			return fs.SkipDir
		case d.IsDir():
			return os.MkdirAll(target, 0o755)
		case !d.Type().IsRegular():
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, text, info.Mode().Perm())
	})
	if err != nil {
		t.Fatal(err)
	}
}

// network gives the machine, which has no network, the Go modules that it would download.
// It returns the environment that Go needs on the machine.
func network(t *testing.T, m *machine.Machine) []string {
	t.Helper()
	goEnvironment := func(name string) string {
		output, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(output))
	}
	modules, cache := goEnvironment("GOMODCACHE"), goEnvironment("GOCACHE")
	if _, err := os.Stat(m.Path(modules)); err != nil {
		// The modules are on another file system than /.
		download := exec.Command("go", "mod", "download")
		download.Dir = machine.Root
		download.Env = append(os.Environ(), "GOMODCACHE="+m.Path("/root/go/pkg/mod"), "GOFLAGS=-modcacherw",
			"GOPROXY=file://"+filepath.Join(modules, "cache/download"), "GONOSUMDB=*")
		if output, err := download.CombinedOutput(); err != nil {
			t.Fatalf("cannot copy the modules: %v\n%s", err, output)
		}
		modules = "/root/go/pkg/mod"
	}
	// The build cache of the host saves time.
	return []string{
		"GOMODCACHE=" + modules, "GOCACHE=" + cache, "GOPROXY=off", "GOTOOLCHAIN=local",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + filepath.Join(goEnvironment("GOROOT"), "bin"),
	}
}

// follow runs one step, and reports whether the result is as documented.
func follow(t *testing.T, m *machine.Machine, shell *session, s step) bool {
	t.Helper()
	if s.file != "" {
		m.Write(t, s.file, s.text)
		return true
	}
	began := time.Now()
	if s.interrupted {
		return interrupt(t, m, shell, s)
	}
	output, status := do(t, shell, s)
	for len(s.shows) > 0 && readOnly.MatchString(s.command) && differs(s.shows, output) != "" && time.Since(began) < machine.Patience {
		time.Sleep(100 * time.Millisecond)
		output, status = do(t, shell, s)
	}
	if took := time.Since(began); took > time.Second {
		t.Logf("%s: %.1f s: %s", s.place, took.Seconds(), s.command)
	}
	if status != 0 && !s.mayFail {
		t.Errorf("%s: %s\nexit status %d:\n%s", s.place, s.command, status, output)
		return false
	}
	// A document may omit the output of a command.
	if s.quiet || len(s.shows) == 0 {
		return true
	}
	if difference := differs(s.shows, output); difference != "" {
		t.Errorf("%s: %s\n%s; the whole output:\n%s", s.place, s.command, difference, output)
		return false
	}
	return true
}

// interrupted is the exit status of an interrupted command.
const interrupted = 130

// interrupt runs a command of root that does not end by itself, and interrupts it when it
// has printed the expected output or has run too long.
func interrupt(t *testing.T, m *machine.Machine, shell *session, s step) bool {
	t.Helper()
	name, _, _ := strings.Cut(s.command, " ")
	stop := time.AfterFunc(patience/2, func() { _, _ = m.Try("pkill", "-INT", "-x", name) })
	defer stop.Stop()
	output, status := shell.watch(t, s.command, func(printed string) {
		if differs(s.shows, printed) == "" {
			stop.Reset(0)
		}
	})
	if difference := differs(s.shows, output); difference != "" || status != 0 && status != interrupted {
		t.Errorf("%s: %s\n%s; exit status %d; the whole output:\n%s", s.place, s.command, difference, status, output)
		return false
	}
	return true
}

// readOnly matches commands that change nothing.
var readOnly = regexp.MustCompile(`^(crauctl (status|query|subscriptions|log-info)|systemctl (is-active|show)) ?`)

func do(t *testing.T, shell *session, s step) (output string, status int) {
	t.Helper()
	if s.user {
		return shell.asUser(t, s.command)
	}
	return shell.run(t, s.command)
}

// patience bounds a command. The build takes longest.
const patience = 10 * time.Minute

func start(t *testing.T, m *machine.Machine, environment []string) *session {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	command := m.CommandContext(ctx, append(append([]string{"env"}, environment...), "bash", "--noprofile", "--norc")...)
	return newSession(t, command)
}

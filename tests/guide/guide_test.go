// SPDX-License-Identifier: Apache-2.0

// Package guide follows the documents for administrators to the letter: it does
// on a throw-away machine, with a real systemd and nothing of the project on it
// but its sources, what a newcomer would type, and sees whether that works and
// looks as documented.
//
// The rule. Followed from top to bottom are the section "Install" of README.md
// and all of docs/admin-guide.md, by one shell of root in the directory of the
// sources. In a block ```console, "# " begins a command of root, "$ " one of the
// user alice, who logs in again for it; what follows up to the next is what it
// prints, but for numbers, times and ids, and "…" is anything. A command must
// succeed, unless "echo $?" comes next. One that only looks is given some seconds,
// as a reader would who looks again. After <!-- until Control-C --> the first command
// of a block runs until it has printed what is shown, and is then interrupted. A block ```toml, ```ini or ```js is a file,
// named by its first line. Comments, which are not rendered, state
// what else is done, to bring about what is described, <!-- run: COMMAND -->, and
// that the next block cannot be run here, <!-- not run: REASON -->. Every block is
// of one of these kinds.
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

// sources is where the sources are on the machine.
const sources = "/usr/src/crypto-auditing"

func TestTheGuideWorksAsWritten(t *testing.T) {
	var readers []*document
	blocks, left := 0, 0
	for _, part := range []struct{ path, heading string }{
		{"../../README.md", "## Install"}, {"../../docs/admin-guide.md", ""},
	} {
		d := read(t, part.path, part.heading)
		readers = append(readers, d)
		blocks += d.blocks
		left += len(d.left)
		for place, reason := range d.left {
			t.Logf("%s is not run: %s", place, reason)
		}
	}
	t.Logf("%d blocks, %d of them are not run", blocks, left)
	if blocks < 30 || left*4 > blocks {
		t.Errorf("of %d blocks %d are not run", blocks, left)
	}
	if missing := machine.Missing(); missing != "" {
		t.Skip(missing)
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("the guide's steps are those of the Debian family")
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
		t.Fatal("the project is installed on this machine: it would not be seen whether the guide installs it")
	}
	environment := network(t, m)

	shell := start(t, m, environment)
	for i, d := range readers {
		if i == 1 {
			// README.md has it installed, its reader tries it.
			everyday(t, m)
		}
		for _, s := range d.steps {
			if !follow(t, m, shell, s) {
				journal, _ := m.Try("journalctl", "-n", "40", "-o", "short-monotonic", "-u", "crypto-auditing-*")
				t.Fatalf("the rest is not tried; the journal:\n%s", journal)
			}
		}
	}
}

// copySources copies the sources as they are, without what was built.
func copySources(t *testing.T, to string) {
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
		target := filepath.Join(to, name)
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

// network gives the machine what it would have from the network, which it does
// not have: Go modules. It returns the environment that Go needs there.
func network(t *testing.T, m *machine.Machine) []string {
	t.Helper()
	goEnvironment := func(name string) string {
		output, err := exec.Command("go", "env", name).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(string(output))
	}
	modules, built := goEnvironment("GOMODCACHE"), goEnvironment("GOCACHE")
	if _, err := os.Stat(m.Path(modules)); err != nil {
		// On another file system than /.
		download := exec.Command("go", "mod", "download")
		download.Dir = machine.Root
		download.Env = append(os.Environ(), "GOMODCACHE="+m.Path("/root/go/pkg/mod"), "GOFLAGS=-modcacherw",
			"GOPROXY=file://"+filepath.Join(modules, "cache/download"), "GONOSUMDB=*")
		if output, err := download.CombinedOutput(); err != nil {
			t.Fatalf("cannot copy the modules: %v\n%s", err, output)
		}
		modules = "/root/go/pkg/mod"
	}
	// What was built outside need not be built again.
	return []string{
		"GOMODCACHE=" + modules, "GOCACHE=" + built, "GOPROXY=off", "GOTOOLCHAIN=local",
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
	for len(s.shows) > 0 && looks.MatchString(s.command) && differs(s.shows, output) != "" && time.Since(began) < machine.Patience {
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
		t.Errorf("%s: %s\n%s; all of it:\n%s", s.place, s.command, difference, output)
		return false
	}
	return true
}

// interrupted is the exit status of an interrupted command.
const interrupted = 130

// interrupt runs a command of root that has no end. It is interrupted when it has
// printed what it should, however long that takes.
func interrupt(t *testing.T, m *machine.Machine, shell *session, s step) bool {
	t.Helper()
	name, _, _ := strings.Cut(s.command, " ")
	over := time.AfterFunc(patience/2, func() { _, _ = m.Try("pkill", "-INT", "-x", name) })
	defer over.Stop()
	output, status := shell.watch(t, s.command, func(printed string) {
		if differs(s.shows, printed) == "" {
			over.Reset(0)
		}
	})
	if difference := differs(s.shows, output); difference != "" || status != 0 && status != interrupted {
		t.Errorf("%s: %s\n%s; exit status %d; all of it:\n%s", s.place, s.command, difference, status, output)
		return false
	}
	return true
}

// looks finds commands that change nothing.
var looks = regexp.MustCompile(`^(crauctl (status|query|subscriptions|log-info)|systemctl (is-active|show)) ?`)

func do(t *testing.T, shell *session, s step) (output string, status int) {
	t.Helper()
	if s.user {
		return shell.asUser(t, s.command)
	}
	return shell.run(t, s.command)
}

// patience bounds a command. Building is the longest.
const patience = 10 * time.Minute

func start(t *testing.T, m *machine.Machine, environment []string) *session {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	command := m.CommandContext(ctx, append(append([]string{"env"}, environment...), "bash", "--noprofile", "--norc")...)
	return newSession(t, command)
}

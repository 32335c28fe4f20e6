// SPDX-License-Identifier: Apache-2.0

// Package packaging tests the tarball, the installation by meson, and the RPM packages.
// All are built without a network, as distributions do.
package packaging

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// root is the directory of the sources.
const root = "../.."

// scratch is the directory in which packages are built. Its path is constant, because
// the go command only reuses cached packages, most of the work, at the same path.
const scratch = root + "/build/package"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	defer os.RemoveAll(scratch)
	return m.Run()
}

// need skips the test without root, and fails it if a tool is missing.
func need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can disable the network and install packages")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("cannot find %s, run tests/setup.sh: %v", tool, err)
		}
	}
}

// command runs a program and returns its output.
func command(dir string, environment []string, arguments ...string) (string, error) {
	c := exec.Command(arguments[0], arguments[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), environment...)
	output, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("cannot %s: %w\n%s", strings.Join(arguments, " "), err, output)
	}
	return string(output), err
}

// mustRun is like command, but ends the test if the program fails.
func mustRun(t *testing.T, dir string, arguments ...string) string {
	t.Helper()
	output, err := command(dir, nil, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// offline is like command, but without a network and without the module cache of this
// machine. It keeps the build cache, since compiling the standard library takes minutes.
// nice(1) reduces the influence on tests that measure time.
func offline(dir string, arguments ...string) (string, error) {
	modules, err := os.MkdirTemp("", "crau-modules-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(modules)
	return command(dir,
		[]string{"GOMODCACHE=" + modules, "GOPROXY=off", "GOFLAGS=", "GOTOOLCHAIN=local"},
		append([]string{"unshare", "--net", "nice"}, arguments...)...)
}

// tarball returns the path of the tarball of the sources as they are, and the
// directory into which it was unpacked.
func tarball(t *testing.T) (path, unpacked string) {
	t.Helper()
	need(t, "git", "meson", "ninja", "go", "tar", "unshare")
	if _, err := os.Stat(filepath.Join(root, ".git")); errors.Is(err, fs.ErrNotExist) {
		t.Skip("a tarball can only be created from a git repository")
	}
	path, err := makeTarball()
	if err != nil {
		t.Fatal(err)
	}
	return path, strings.TrimSuffix(path, ".tar.xz")
}

// makeTarball creates the tarball by meson, from a clone in which the uncommitted changes
// are committed. The clone has no tags, so that the version is that of the file VERSION.
var makeTarball = sync.OnceValues(func() (string, error) {
	clone, build := filepath.Join(scratch, "clone"), filepath.Join(scratch, "dist")
	if err := errors.Join(os.RemoveAll(scratch), os.MkdirAll(scratch, 0o755)); err != nil {
		return "", err
	}
	script := `
		git clone -q --no-tags . "$1"
		git ls-files -z --cached --others --exclude-standard --deduplicate |
			while IFS= read -r -d '' file; do [ ! -e "$file" ] || printf '%s\0' "$file"; done |
			tar -c --null -T - | tar -x -C "$1"
		git ls-files -z --deleted | (cd "$1" && xargs -0 rm -f)
		cd "$1"
		git add -A
		git -c user.name=test -c user.email=test@localhost commit -q --allow-empty -m "uncommitted changes"`
	if _, err := command(root, nil, "bash", "-euc", script, "bash", "build/package/clone"); err != nil {
		return "", err
	}
	if _, err := command(clone, nil, "meson", "setup", "../dist"); err != nil {
		return "", err
	}
	if _, err := command(clone, nil, "meson", "dist", "-C", "../dist", "--no-tests"); err != nil {
		return "", err
	}
	paths, err := filepath.Glob(filepath.Join(build, "meson-dist", "*.tar.xz"))
	if err != nil || len(paths) != 1 {
		return "", fmt.Errorf("meson created the tarballs %v, want one: %w", paths, err)
	}
	path, err := filepath.Abs(paths[0])
	if err != nil {
		return "", err
	}
	_, err = command(filepath.Dir(path), nil, "tar", "-xf", path)
	return path, err
})

// version returns the content of the file VERSION.
func version(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// SPDX-License-Identifier: Apache-2.0

// Package packaging tests what a distribution takes: the tarball, what meson
// installs, and the RPM packages. All of it is built as there, without a network.
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

// scratch is where packages are built. It is always the same: the go command
// finds again in its cache what it has compiled at the same path, which is most
// of the work.
const scratch = root + "/build/package"

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	defer os.RemoveAll(scratch)
	return m.Run()
}

// need ends the test where there is none of the tools: as failed on a machine
// that tests/setup.sh can set up, else as skipped.
func need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can take the network away, and install packages")
	}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("cannot find %s, run tests/setup.sh: %v", tool, err)
		}
	}
}

// command runs a program and returns what it wrote.
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

// mustRun is command that ends the test when the program fails.
func mustRun(t *testing.T, dir string, arguments ...string) string {
	t.Helper()
	output, err := command(dir, nil, arguments...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// offline is command without a network, and without the modules that this
// machine has already. The cache of what was compiled stays: without it the
// standard library alone takes minutes. Others measure time meanwhile.
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
		t.Skip("these sources are from a tarball, which are made from git")
	}
	path, err := makeTarball()
	if err != nil {
		t.Fatal(err)
	}
	return path, strings.TrimSuffix(path, ".tar.xz")
}

// makeTarball has meson make the tarball, in a clone with what is not committed
// yet: meson takes what is. Tags do not matter there, so that it has the version
// in the file.
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
		git -c user.name=test -c user.email=test@localhost commit -q --allow-empty -m "what is tested"`
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
		return "", fmt.Errorf("meson made the tarballs %v, %w", paths, err)
	}
	path, err := filepath.Abs(paths[0])
	if err != nil {
		return "", err
	}
	_, err = command(filepath.Dir(path), nil, "tar", "-xf", path)
	return path, err
})

// version is the content of the file VERSION.
func version(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

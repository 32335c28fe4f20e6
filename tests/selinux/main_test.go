// SPDX-License-Identifier: Apache-2.0

// Package selinux tests the policy module as it would be on a machine: compiled for and
// linked with the distribution's policy. The tests read the rules of the result. The
// machine's own policy is not changed, and SELinux need not be active.
package selinux

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	// sources is the directory of the module.
	sources = "../../selinux"
	devel   = "/usr/share/selinux/devel"
)

// need fails the test if something is missing that tests/setup.sh installs. It skips the
// test if the user is not root.
func need(t *testing.T, tools ...string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can read the modules of the machine's policy")
	}
	for _, tool := range append(tools, devel+"/Makefile") {
		if _, err := exec.LookPath(tool); err != nil && !strings.HasPrefix(tool, "/") {
			t.Fatalf("cannot find %s, run tests/setup.sh: %v", tool, err)
		}
		if _, err := os.Stat(tool); err != nil && strings.HasPrefix(tool, "/") {
			t.Fatalf("cannot find the headers of the policy, run tests/setup.sh: %v", err)
		}
	}
}

// run runs a program and returns its output.
func run(dir string, arguments ...string) (string, error) {
	c := exec.Command(arguments[0], arguments[1:]...)
	c.Dir = dir
	output, err := c.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("cannot %s: %w\n%s", strings.Join(arguments, " "), err, output)
	}
	return string(output), err
}

// policy is the machine's policy with the module.
type policy struct {
	// variant is its name (SELINUXTYPE).
	variant string
	// binary is the policy in the kernel's format, contexts the file contexts.
	binary, contexts string
}

// needPolicy returns the policy. All tests share it.
func needPolicy(t *testing.T) policy {
	t.Helper()
	need(t, "make", "checkmodule", "semodule")
	p, err := link()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// directory is where the tests build.
var directory string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if directory, err = os.MkdirTemp("", "crau-selinux-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(directory)
		return m.Run()
	}())
}

// modules are the directories of policy modules, in order of preference: Debian's,
// Fedora's.
var modules = []string{"/var/lib/selinux/default", "/var/lib/selinux/targeted"}

// link links the module and the module of the clients with the modules of the machine's
// policy, as "semodule -i" does, but on a copy and with checks of the policy's
// neverallow rules.
var link = sync.OnceValues(func() (policy, error) {
	i := slices.IndexFunc(modules, func(dir string) bool { return exists(dir + "/active/modules") })
	if i < 0 {
		return policy{}, fmt.Errorf("cannot find a policy in any of %v, run tests/setup.sh", modules)
	}
	variant := filepath.Base(modules[i])
	build, root := filepath.Join(directory, "modules"), filepath.Join(directory, "root")
	if err := compile(build, variant); err != nil {
		return policy{}, err
	}
	etc := filepath.Join(root, "etc/selinux")
	files := filepath.Join(etc, variant, "contexts/files")
	for _, dir := range []string{filepath.Join(etc, variant, "policy"), filepath.Join(root, "var/lib/selinux")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return policy{}, err
		}
	}
	// Compiled file contexts only speed up programs with many look-ups.
	configuration := "module-store = direct\nexpand-check = 1\nusepasswd = false\n[sefcontext_compile]\npath = /bin/true\nargs = $@\n[end]\n"
	if err := os.WriteFile(filepath.Join(etc, "semanage.conf"), []byte(configuration), 0o600); err != nil {
		return policy{}, err
	}
	for _, command := range [][]string{
		{"cp", "-a", modules[i], filepath.Join(root, "var/lib/selinux")},
		{"cp", "-a", "/etc/selinux/" + variant + "/contexts", filepath.Join(etc, variant)},
		{"find", files, "-name", "file_contexts*", "!", "-name", "*.subs*", "-delete"},
		{"semodule", "-X", "200", "-n", "-p", root, "-s", variant, "-i", filepath.Join(build, "crypto_auditing.pp"), "-i", filepath.Join(build, "clients.pp")},
	} {
		if _, err := run(".", command...); err != nil {
			return policy{}, err
		}
	}
	binaries, err := filepath.Glob(filepath.Join(etc, variant, "policy/policy.*"))
	if err != nil || len(binaries) != 1 {
		return policy{}, fmt.Errorf("cannot identify the linked policy among %v: %w", binaries, err)
	}
	return policy{variant: variant, binary: binaries[0], contexts: filepath.Join(files, "file_contexts")}, nil
})

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// compile compiles the module in a new directory, and a module with a domain for each
// interface, which only has the access of that interface: client_NAME_t.
func compile(dir, variant string) error {
	if err := os.CopyFS(dir, os.DirFS(sources)); err != nil {
		return err
	}
	names, err := interfaces()
	if err != nil {
		return err
	}
	var clients strings.Builder
	clients.WriteString("policy_module(clients, 1)\n")
	for _, name := range names {
		fmt.Fprintf(&clients, "type client_%s_t;\ndomain_type(client_%[1]s_t)\ncrypto_auditing_%[1]s(client_%[1]s_t)\n", name)
	}
	if err := os.WriteFile(filepath.Join(dir, "clients.te"), []byte(clients.String()), 0o600); err != nil {
		return err
	}
	_, err = run(dir, "make", "-f", devel+"/Makefile", "NAME="+variant, "crypto_auditing.pp", "clients.pp")
	return err
}

// interfaces returns the names of the module's interfaces, without its prefix.
func interfaces() ([]string, error) {
	text, err := os.ReadFile(filepath.Join(sources, "crypto_auditing.if"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, match := range regexp.MustCompile("(?m)^interface\\(`crypto_auditing_([a-z_]+)'").FindAllSubmatch(text, -1) {
		names = append(names, string(match[1]))
	}
	return names, nil
}

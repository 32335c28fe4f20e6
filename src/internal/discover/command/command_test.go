// SPDX-License-Identifier: Apache-2.0

package command_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/discover/command"
)

func write(t *testing.T, path, text string, mode fs.FileMode) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestACommandIsSearchedLikeInAShell(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write(t, filepath.Join(first, "plain"), "x", 0o644)
	write(t, filepath.Join(second, "program"), "x", 0o755)
	write(t, filepath.Join(second, "both"), "x", 0o755)
	write(t, filepath.Join(first, "both"), "x", 0o644)
	path := first + ":" + second
	for name, want := range map[string]struct {
		file string
		err  error
	}{
		"program":              {filepath.Join(second, "program"), nil},
		"both":                 {filepath.Join(second, "both"), nil},
		"plain":                {"", fs.ErrPermission},
		"none":                 {"", fs.ErrNotExist},
		first:                  {first, fs.ErrPermission},
		first + "/plain":       {first + "/plain", fs.ErrPermission},
		first + "/none":        {first + "/none", fs.ErrNotExist},
		first + "/plain/below": {first + "/plain/below", fs.ErrNotExist},
	} {
		got, err := command.LookPath(name, path)
		if got != want.file || !errors.Is(err, want.err) {
			t.Errorf("%s is %q, %v; want %q, %v", name, got, err, want.file, want.err)
		}
	}
}

// library builds a library. options may add libraries that it needs.
func library(t *testing.T, path string, options ...string) string {
	t.Helper()
	source := write(t, filepath.Join(t.TempDir(), "x.c"), "int "+strings.TrimSuffix(filepath.Base(path), ".so")+";", 0o644)
	arguments := append([]string{"-shared", "-fPIC", "-nostdlib", "-Wl,--no-as-needed", "-o", path, source}, options...)
	if out, err := exec.Command("gcc", arguments...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

func TestLibrariesAreFoundWhereTheLoaderFindsThem(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs gcc")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, sub := range []string{"run", "env", "r"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	deep := library(t, filepath.Join(dir, "r", "libdeep.so"))
	byRpath := library(t, filepath.Join(dir, "r", "librpath.so"), deep)
	byRunpath := library(t, filepath.Join(dir, "run", "librunpath.so"))
	byEnvironment := library(t, filepath.Join(dir, "env", "libenv.so"))
	preloaded := library(t, filepath.Join(dir, "libpreload.so"))
	main := write(t, filepath.Join(dir, "main.c"), "int main(void) { return 0; }", 0o644)
	build := func(name string, options ...string) string {
		arguments := append([]string{"-Wl,--no-as-needed", "-o", filepath.Join(dir, name), main, "-L" + dir + "/r", "-L" + dir + "/run", "-L" + dir + "/env", "-Wl,--allow-shlib-undefined"}, options...)
		if out, err := exec.Command("gcc", arguments...).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return filepath.Join(dir, name)
	}
	// The names of needed libraries are as given to the linker: use short ones.
	old := build("old", "-Wl,--disable-new-dtags,-rpath,$ORIGIN/r", "-l:librpath.so")
	modern := build("new", "-Wl,--enable-new-dtags,-rpath,"+dir+"/run", "-l:librunpath.so", "-l:libenv.so")
	script := write(t, filepath.Join(dir, "ascript"), "#!"+old+" argument\n", 0o755)

	e := command.Environment{Library: filepath.Join(dir, "env"), Preload: preloaded, Path: os.Getenv("PATH") + ":" + dir}
	for name, c := range map[string]struct {
		file      string
		arguments []string
		want      []string
	}{
		"rpath":     {old, nil, []string{old, byRpath, preloaded}},
		"runpath":   {modern, nil, []string{modern, byRunpath, byEnvironment, preloaded}},
		"script":    {script, nil, []string{script, old, byRpath}},
		"arguments": {"/bin/sh", []string{"-c", "new;ascript"}, []string{modern, script, old, byRunpath}},
	} {
		got := command.Files(c.file, c.arguments, e)
		for _, want := range c.want {
			if !slices.Contains(got, want) {
				t.Errorf("%s: %s is not among %q", name, want, got)
			}
		}
		if !slices.ContainsFunc(got, func(path string) bool { return filepath.Base(path) == "libc.so.6" }) {
			t.Errorf("%s: the C library is not among %q", name, got)
		}
	}
}

// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The base of the machine is kept from run to run. One that is damaged must be
// noticed, so that it is made again.
func TestADamagedBaseIsNotUsed(t *testing.T) {
	base := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(base, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	whole := func() bool { return exec.Command("./image.sh", "--check", base).Run() == nil }

	must(os.MkdirAll(filepath.Join(base, "root/etc"), 0o755))
	must(os.Symlink("usr/bin", filepath.Join(base, "root/bin")))
	write("vmlinuz", "kernel")
	write("initrd", "first")
	write("root/etc/passwd", "root:x:0:0")
	write("root/etc/name with spaces", "")
	if whole() {
		t.Error("a base that was not made to its end is used")
	}
	must(exec.Command("./image.sh", "--seal", base).Run())
	if !whole() {
		t.Fatal("a base that is as it was made is not used")
	}
	for name, damage := range map[string]struct{ do, undo func() }{
		"another byte":     {func() { write("vmlinuz", "kernal") }, func() { write("vmlinuz", "kernel") }},
		"a shorter file":   {func() { write("root/etc/passwd", "root:x:0") }, func() { write("root/etc/passwd", "root:x:0:0") }},
		"a file more":      {func() { write("root/etc/shadow", "") }, func() { must(os.Remove(filepath.Join(base, "root/etc/shadow"))) }},
		"a file less":      {func() { must(os.Remove(filepath.Join(base, "initrd"))) }, func() { write("initrd", "first") }},
		"another mode":     {func() { must(os.Chmod(filepath.Join(base, "root/etc"), 0o700)) }, func() { must(os.Chmod(filepath.Join(base, "root/etc"), 0o755)) }},
		"a link less":      {func() { must(os.Remove(filepath.Join(base, "root/bin"))) }, func() { must(os.Symlink("usr/bin", filepath.Join(base, "root/bin"))) }},
		"without its seal": {func() { must(os.Rename(filepath.Join(base, "seal"), base+".seal")) }, func() { must(os.Rename(base+".seal", filepath.Join(base, "seal"))) }},
	} {
		damage.do()
		if whole() {
			t.Errorf("%s: the base is used", name)
		}
		damage.undo()
		if !whole() {
			t.Fatalf("%s: the base is as before, and is not used", name)
		}
	}
}

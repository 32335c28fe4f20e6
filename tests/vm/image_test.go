// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The base of the machine is cached. A damaged one must be detected, so that it is made
// again.
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
	intact := func() bool { return exec.Command("./image.sh", "--check", base).Run() == nil }

	must(os.MkdirAll(filepath.Join(base, "root/etc"), 0o755))
	must(os.Symlink("usr/bin", filepath.Join(base, "root/bin")))
	write("vmlinuz", "kernel")
	write("initrd", "first")
	write("root/etc/passwd", "root:x:0:0")
	write("root/etc/name with spaces", "")
	if intact() {
		t.Error("an incomplete base is used")
	}
	must(exec.Command("./image.sh", "--seal", base).Run())
	if !intact() {
		t.Fatal("an intact base is not used")
	}
	for name, damage := range map[string]struct{ do, undo func() }{
		"another byte":       {func() { write("vmlinuz", "kernal") }, func() { write("vmlinuz", "kernel") }},
		"a shorter file":     {func() { write("root/etc/passwd", "root:x:0") }, func() { write("root/etc/passwd", "root:x:0:0") }},
		"an additional file": {func() { write("root/etc/shadow", "") }, func() { must(os.Remove(filepath.Join(base, "root/etc/shadow"))) }},
		"a missing file":     {func() { must(os.Remove(filepath.Join(base, "initrd"))) }, func() { write("initrd", "first") }},
		"another mode":       {func() { must(os.Chmod(filepath.Join(base, "root/etc"), 0o700)) }, func() { must(os.Chmod(filepath.Join(base, "root/etc"), 0o755)) }},
		"a missing link":     {func() { must(os.Remove(filepath.Join(base, "root/bin"))) }, func() { must(os.Symlink("usr/bin", filepath.Join(base, "root/bin"))) }},
		"a missing seal":     {func() { must(os.Rename(filepath.Join(base, "seal"), base+".seal")) }, func() { must(os.Rename(base+".seal", filepath.Join(base, "seal"))) }},
	} {
		damage.do()
		if intact() {
			t.Errorf("%s: the base is used", name)
		}
		damage.undo()
		if !intact() {
			t.Fatalf("%s: the restored base is not used", name)
		}
	}
}

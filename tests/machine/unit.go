// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// InUnit returns the attributes of a process in the control group with a name, which it
// creates if needed.
func InUnit(t *testing.T, name string) *syscall.SysProcAttr {
	t.Helper()
	for _, root := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
			continue
		}
		directory := filepath.Join(root, name)
		if err := os.Mkdir(directory, 0o755); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
		group, err := os.Open(directory)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			group.Close()
			// This fails while processes of the test remain.
			_ = os.Remove(directory)
		})
		return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	}
	t.Fatal("cgroup2 is not mounted")
	return nil
}

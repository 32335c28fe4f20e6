// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// InUnit describes a process in a control group of that name.
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
			// It stays while a process of the test does.
			_ = os.Remove(directory)
		})
		return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(group.Fd())}
	}
	t.Fatal("no control groups of version 2 are mounted")
	return nil
}

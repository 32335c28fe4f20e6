// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore"
)

func TestCheckLogDirAcceptsExistingAndNewDirectories(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, good := range map[string]bool{
		dir: true, filepath.Join(dir, "new", "log"): true, file: false, filepath.Join(file, "log"): false,
	} {
		if err := CheckLogDir(path); (err == nil) != good {
			t.Errorf("the log directory %s: %v", path, err)
		}
	}
}

func TestOnlySomeFailuresArePermanent(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want bool
	}{
		"no capability":  {fmt.Errorf("cannot load: %w", unix.EPERM), true},
		"no access":      {&os.PathError{Op: "open", Path: "/log", Err: unix.EACCES}, true},
		"old kernel":     {fmt.Errorf("cannot load: %w", unix.ENOSYS), true},
		"other format":   {fmt.Errorf("cannot open: %w", &logstore.IncompatibleError{}), true},
		"full disk":      {fmt.Errorf("cannot write: %w", unix.ENOSPC), false},
		"another agent":  {&logstore.LockedError{}, false},
		"no memory":      {fmt.Errorf("cannot load: %w", unix.ENOMEM), false},
		"something else": {errors.New("bad luck"), false},
	} {
		if got := Permanent(c.err); got != c.want {
			t.Errorf("%s: permanent is %v", name, got)
		}
	}
}

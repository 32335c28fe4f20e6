// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/logstore"
)

// CheckLogDir reports whether the calling user can write a log in a directory, or create
// the directory.
func CheckLogDir(dir string) error {
	err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK)
	if errors.Is(err, unix.ENOENT) {
		// The directory is created together with missing parents.
		above := filepath.Dir(dir)
		for above != filepath.Dir(above) && !exists(above) {
			above = filepath.Dir(above)
		}
		err = unix.Access(above, unix.W_OK|unix.X_OK)
		dir = above
	}
	if err != nil {
		return fmt.Errorf("cannot write the log in %s: %w", dir, err)
	}
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("cannot write the log in %s: not a directory", dir)
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Permanent reports whether an error of New or Run will recur until someone fixes its
// cause: missing privileges, a missing feature of the kernel, or a log of another
// format.
func Permanent(err error) bool {
	var incompatible *logstore.IncompatibleError
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.As(err, &incompatible)
}

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

// CheckLogDir reports whether the calling user can write a log in a directory,
// or make it.
func CheckLogDir(dir string) error {
	err := unix.Access(dir, unix.R_OK|unix.W_OK|unix.X_OK)
	if errors.Is(err, unix.ENOENT) {
		// It is made with what is missing above it.
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

// Permanent reports whether an agent that New failed to make, or that Run could
// not start, will fail in the same way until somebody does something about it: what it may not do, what
// this kernel cannot, and a log of another format.
func Permanent(err error) bool {
	var incompatible *logstore.IncompatibleError
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) || errors.As(err, &incompatible)
}

// SPDX-License-Identifier: Apache-2.0

package source

import (
	"os"
	"path/filepath"
)

// SaveCursor replaces a file atomically: readers see the old cursor or the new one.
func SaveCursor(path, text string) error {
	temporary, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = temporary.WriteString(text + "\n")
	if syncErr := temporary.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := temporary.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temporary.Name(), path)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
	}
	return err
}

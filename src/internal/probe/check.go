// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"crypto-auditing/src/internal/usdt"
)

// Check reports whether the file at path has probes that could be attached to,
// as far as the file shows it: nothing is asked of the kernel. The error is a
// *NoProbesError if it has none.
func Check(path string) error {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("cannot attach: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("cannot attach to %s: %w", path, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("cannot attach to %s: not a regular file", path)
	}
	file, err := usdt.Parse(f, info.Size())
	if err != nil {
		return fmt.Errorf("cannot attach to %s: %w", path, err)
	}
	if !slices.ContainsFunc(file.Sites, func(s usdt.Site) bool {
		_, known := recordKind(s.Name)
		return known && usdt.Accepted(s.Provider)
	}) {
		return &NoProbesError{path, file.Errors}
	}
	return nil
}

// SPDX-License-Identifier: Apache-2.0

package file

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

func TestPlaceReplacesNoFile(t *testing.T) {
	for name, place := range map[string]func(from, to string) error{"rename": Plain{}.Place, "link": placeByLink} {
		t.Run(name, func(t *testing.T) {
			from, to := filepath.Join(t.TempDir(), "from"), filepath.Join(t.TempDir(), "to")
			for path, text := range map[string]string{from: "new", to: "old"} {
				if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := place(from, to); !errors.Is(err, fs.ErrExist) {
				t.Errorf("placing a file over another one: %v", err)
			}
			if text, err := os.ReadFile(to); err != nil || string(text) != "old" {
				t.Errorf("the file holds %q, %v", text, err)
			}
			if err := os.Remove(to); err != nil {
				t.Fatal(err)
			}
			if err := place(from, to); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(to); err != nil || string(text) != "new" {
				t.Errorf("the file holds %q, %v", text, err)
			}
			if _, err := os.Lstat(from); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the old name: %v", err)
			}
		})
	}
}

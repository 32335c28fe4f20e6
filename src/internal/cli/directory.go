// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// openDirectory opens the store in a directory.
func openDirectory(path string, boot bootTime) (source, error) {
	reader, err := logstore.OpenReader(path, logstore.ReaderOptions{EntryLen: event.Len})
	if err != nil {
		return nil, fmt.Errorf("cannot open log directory %s: %w", path, err)
	}
	return &storeSource{reader: reader, boot: boot}, nil
}

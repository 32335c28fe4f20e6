// SPDX-License-Identifier: Apache-2.0

package observed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// document is the JSON form of Observed, in which crau-inventory passes it to crauctl.
type document struct {
	// Version is formatVersion.
	Version  int       `json:"observed_version"`
	Observed *Observed `json:"observed"`
}

// formatVersion changes if older programs would misread the format.
const formatVersion = 1

// ErrFormat is the error for a document that this version cannot read.
var ErrFormat = errors.New("not a document of what was observed")

// Write writes observations as JSON.
func Write(w io.Writer, o *Observed) error {
	if err := json.NewEncoder(w).Encode(document{formatVersion, o}); err != nil {
		return fmt.Errorf("cannot write what was observed: %w", err)
	}
	return nil
}

// Read reads the output of Write. The error is ErrFormat for anything else, and for another version.
func Read(r io.Reader) (*Observed, error) {
	var d document
	if err := json.NewDecoder(r).Decode(&d); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if d.Version != formatVersion || d.Observed == nil {
		return nil, fmt.Errorf("%w: it has the version %d, this program reads %d", ErrFormat, d.Version, formatVersion)
	}
	return d.Observed, nil
}

// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"path/filepath"

	"crypto-auditing/src/internal/logstore/frame"
)

// StoreID takes the id of the store from the newest segment that begins with
// a readable header.
func StoreID(dir string, list []uint64) (id [16]byte, known bool, err error) {
	for i := len(list) - 1; i >= 0; i-- {
		s, err := Open(filepath.Join(dir, Name(list[i])))
		if err != nil {
			return id, false, err
		}
		var h frame.Header
		err = s.Header(0, &h)
		s.Close()
		var incompatible *IncompatibleError
		if errors.As(err, &incompatible) {
			return id, false, err
		}
		if err == nil {
			return h.StoreID, true, nil
		}
	}
	return id, false, nil
}

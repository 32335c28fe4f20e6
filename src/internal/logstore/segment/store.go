// SPDX-License-Identifier: Apache-2.0

package segment

import (
	"errors"
	"path/filepath"

	"crypto-auditing/src/internal/logstore/frame"
)

// StoreID takes the id of the store from the newest segment that begins with
// a readable header. Segments that cannot be read are passed over; the error
// is that of the newest of them if no other has the id.
func StoreID(dir string, list []uint64) (id [16]byte, known bool, err error) {
	var first error
	for i := len(list) - 1; i >= 0; i-- {
		h, err := firstHeader(filepath.Join(dir, Name(list[i])))
		var incompatible *IncompatibleError
		if errors.As(err, &incompatible) {
			return id, false, err
		}
		if err == nil {
			return h.StoreID, true, nil
		}
		if !isPlaced(err) && first == nil {
			first = err
		}
	}
	return id, false, first
}

// firstHeader reads how the segment at path begins.
func firstHeader(path string) (h frame.Header, err error) {
	s, err := Open(path)
	if err != nil {
		return h, err
	}
	defer s.Close()
	err = s.Header(0, &h)
	return h, err
}

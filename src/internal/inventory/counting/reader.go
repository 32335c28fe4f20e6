// SPDX-License-Identifier: Apache-2.0

package counting

import (
	"crypto-auditing/src/internal/inventory/row"
	"crypto-auditing/src/internal/schema"
)

// Reader reads the uses of trees, as a Counter counts them. It is for use by one goroutine.
type Reader struct{ reader *reader }

// NewReader returns a Reader.
func NewReader(r *schema.Registry) (*Reader, error) {
	to, err := newReader(r)
	if err != nil {
		return nil, err
	}
	return &Reader{to}, nil
}

// Uses passes each use of a complete tree to visit. The use is valid until visit returns.
func (r *Reader) Uses(root *schema.Span, visit func(*row.Use)) {
	r.reader.read(root, func(*schema.Span) { visit(&r.reader.use) })
}

// SPDX-License-Identifier: Apache-2.0

// Package outcome returns the results of operations, for their summaries.
package outcome

import (
	"strconv"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// Result returns the result of a tree for a key: the last of several, but data of the root take
// precedence. of is the span that has it, nil if there is none; implied is the text that the name of
// the root implies instead.
func Result(r *schema.Registry, root *schema.Span, key string) (v event.Value, span *schema.Span, implied string) {
	context := r.Context(root.Name)
	r.WalkResults(root, key, func(s *schema.Span) bool {
		if value, ok := s.Value(key); ok {
			if value.Kind == event.Word || len(value.Bytes) > 0 || value.Unreadable || value.Truncated {
				v, span = value, s
			}
		} else if s == root && context != nil {
			implied = context.Implied[key]
		}
		return s != root || span == nil && implied == ""
	})
	return v, span, implied
}

// Text returns a number as it is shown: its name if it has one, else in hexadecimal digits if
// others of the key have names, else in decimal ones.
func Text(k *schema.Key, n int64) string {
	if name, ok := k.Text(n); ok {
		return name
	}
	if k.HasNames() {
		return "0x" + strconv.FormatUint(uint64(n), 16)
	}
	return strconv.FormatInt(n, 10)
}

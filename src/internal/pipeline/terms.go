// SPDX-License-Identifier: Apache-2.0

package pipeline

import (
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

// EntryTerms returns a function that appends the terms of an entry: what the
// filters of the store must know of it, whoever makes them. It is for sealing,
// by one goroutine at a time; the pipeline has the terms from its words.
func EntryTerms() func(dst []uint64, entry []byte) []uint64 {
	var g event.Group
	return func(dst []uint64, entry []byte) []uint64 {
		if _, err := event.Decode(entry, &g); err != nil {
			return dst
		}
		if len(g.Name) > 0 {
			dst = append(dst, logstore.TermHash(logstore.Name, g.Name))
		}
		if len(g.Executable) > 0 {
			dst = append(dst, logstore.TermHash(logstore.Executable, g.Executable))
		}
		for i := range g.Events {
			if e := &g.Events[i]; e.Kind == event.Data {
				dst = append(dst, logstore.TermHash(logstore.Key, e.Key))
			}
		}
		return dst
	}
}

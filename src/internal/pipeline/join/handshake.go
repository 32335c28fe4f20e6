// SPDX-License-Identifier: Apache-2.0

package join

import (
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/wire"
)

// Handshake is a handshake that a library reported.
type Handshake struct {
	Values
	Task             uint64 // the kernel's PIDTGID
	Context          event.ContextID
	Name, Executable []byte
	// Origin is the build-id of the library if it was recorded by its functions, nil if
	// by its probes.
	Origin []byte
	// Root is what functions recorded of it, with the number of its context; nil with
	// probes.
	Root   *wire.Context
	Number uint64

	began   uint64
	matched bool
	// rival is a handshake of a socket that was matched with another one and may have
	// belonged to this one, nil if there is none; disputed is set if there were several
	// that differ.
	rival    *Values
	disputed bool
	// doubted is a handshake of a socket that disagrees with this one and may
	// nevertheless belong to it; contested is set if there were several.
	doubted   *Operation
	contested bool
}

// Note stores a value that the library reports.
func (h *Handshake) Note(key []byte, v *event.Value) {
	switch string(key) {
	case "tls::role":
		h.Role = string(v.Bytes)
	case "tls::protocol_version":
		h.Version = v.Word
	case "tls::ciphersuite":
		h.Suite = v.Word
	case "tls::group":
		h.AddGroup(v.Word)
	}
}

// Only reports whether no handshake of a socket that was matched with another one may
// have belonged to this one.
func (h *Handshake) Only() bool { return h.rival == nil }

// mayBe records that a handshake of a socket may belong to this one.
func (h *Handshake) mayBe(o *Operation) {
	if h.rival == nil {
		h.rival = &o.Values
	} else if !h.rival.same(&o.Values) {
		h.disputed = true
	}
}

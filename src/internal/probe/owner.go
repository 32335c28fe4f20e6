// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"unsafe"

	"crypto-auditing/bpf"
)

// Owner is whose program it is that opens a context with its next hit. Unit is valid as
// long as the raw record.
type Owner struct {
	// Process is the kernel's number.
	Process uint32
	// User is the real user id.
	User uint32
	// Unit is the nearest service or scope; empty: none.
	Unit []byte
}

// SetOwners has an Owner come before each hit that opens a context. That costs such a
// hit about as much as another one. It may be called from any goroutine, at any time.
func (t *Tracer) SetOwners(wanted bool) {
	var word uint64
	if wanted {
		word = 1
	}
	t.controlWord(unsafe.Offsetof(bpf.AuditControlBlock{}.Owners)).Store(word)
}

// DecodeOwner decodes a record of kind Owned.
func DecodeOwner(raw []byte) (Owner, error) {
	if len(raw) < int(unsafe.Sizeof(bpf.AuditOwner{})) {
		return Owner{}, errRecord
	}
	// The ring aligns records to eight bytes, as the type needs, and the length was
	// just checked.
	o := (*bpf.AuditOwner)(unsafe.Pointer(&raw[0]))
	unit, _, _ := bytes.Cut(raw[unsafe.Offsetof(bpf.AuditOwner{}.Unit):unsafe.Sizeof(bpf.AuditOwner{})], []byte{0})
	return Owner{Process: uint32(o.PidTgid >> 32), User: o.User, Unit: unit}, nil
}

// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"bytes"
	"unsafe"

	"crypto-auditing/bpf"
)

// Owner identifies the process and user whose next hit opens a context. Unit is valid as
// long as the raw record.
type Owner struct {
	// Process is the process id of the kernel.
	Process uint32
	// User is the real user id.
	User uint32
	// Unit is the nearest service or scope, empty if there is none.
	Unit []byte
}

// SetOwners enables an Owner before each hit that opens a context. It costs such a hit
// about as much as a second hit. It may be called from any goroutine at any time.
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
	// The ring aligns records to eight bytes, as the type requires, and the length was
	// checked above.
	o := (*bpf.AuditOwner)(unsafe.Pointer(&raw[0]))
	unit, _, _ := bytes.Cut(raw[unsafe.Offsetof(bpf.AuditOwner{}.Unit):unsafe.Sizeof(bpf.AuditOwner{})], []byte{0})
	return Owner{Process: uint32(o.PidTgid >> 32), User: o.User, Unit: unit}, nil
}

// SPDX-License-Identifier: Apache-2.0

package capture

// Calls is what a plan has besides its sites if they are in functions of a
// library without probes: where the values are that a hit has at hand.
type Calls struct {
	// Text is the link-time address of the code, TextSize its size in bytes: a
	// call from elsewhere is one from outside.
	Text, TextSize uint64
	// Chains lead to values, by the numbers of enum call_value in
	// bpf/function.bpf.h.
	Chains map[uint8]Chain
}

// MaxLoads is the most loads of a chain.
const MaxLoads = 5

// Chain leads from an object to a value: each load but the last reads an
// address, to which the next offset is added; the last reads Width bytes.
type Chain struct {
	Offsets []uint16
	Width   uint8
}

// Call is what a hit of a site in a function is. The registers that the function
// does not have are NoRegister.
type Call struct {
	// Role and Operation are numbers of enum call_role in bpf/function.bpf.h and
	// of layout.Operation.
	Role, Operation uint8
	// StackDelta is by how many bytes the stack pointer is lower at the site than
	// at the function's entry, Reach, at the end of a handshake, how far at most
	// the stack pointer at its beginning is above.
	StackDelta uint32
	Reach      uint64
	// External: only calls from outside of the library count.
	External bool
	// Value is the number of the value of the object that is recorded with a
	// low-level operation, 0: none.
	Value uint8
	// Object is what the function works on; a hit counts only if Output, where
	// there is one, is not NULL. Command, where there is one, must be 1. The others
	// are what is recorded.
	Object, Output, Command                         Register
	Length, Digest, DigestNID, Bits, CurveNID, Text Register
}

// SPDX-License-Identifier: Apache-2.0

package capture

// Calls is the part of a plan that describes functions of a library without probes:
// where a hit of one of the sites finds its values.
type Calls struct {
	// Text is the link-time address of the code, TextSize its size in bytes: a call
	// from an address outside is an external call.
	Text, TextSize uint64
	// Chains lead to values. The keys are numbers of enum call_value in
	// bpf/function.bpf.h.
	Chains map[uint8]Chain
}

// MaxLoads is the highest number of loads in a chain.
const MaxLoads = 5

// Chain leads from an object to a value: each load except the last reads an address,
// to which the next offset is added; the last load reads Width bytes.
type Chain struct {
	Offsets []uint16
	Width   uint8
}

// Call describes a hit of a site in a function. Registers that the function does not
// use are NoRegister.
type Call struct {
	// Role and Operation are numbers of enum call_role in bpf/function.bpf.h and of
	// layout.Operation.
	Role, Operation uint8
	// Layer is the part of the library that the site belongs to. The sites of a layer are
	// attached together or not at all.
	Layer string
	// StackDelta is the number of bytes by which the stack pointer is lower at the
	// site than at the function's entry. At the end of a handshake, Reach is the
	// highest number of bytes by which the stack pointer at its beginning is higher.
	StackDelta uint32
	Reach      uint64
	// External reports whether only calls from outside of the library count.
	External bool
	// Value is the number of the object's value that is recorded with a low-level
	// operation, 0 for none.
	Value uint8
	// Object is the object that the function works on. A hit counts only if Output is
	// not NULL and Command is 1, as far as they are used. The other registers hold
	// values that are recorded.
	Object, Output, Command                         Register
	Length, Digest, DigestNID, Bits, CurveNID, Text Register
	// Result holds the function's result at the end of a handshake.
	Result Register
	// Algorithm holds the number of an algorithm, Data and Signature point to a pointer
	// and a length, Signing to the parameters of a signature, as described for
	// layout.SessionOperation and layout.SetSignature.
	Algorithm, Data, Signing, Signature Register
}

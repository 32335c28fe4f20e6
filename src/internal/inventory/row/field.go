// SPDX-License-Identifier: Apache-2.0

package row

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// Field is a field of a Use by its name in the database and on interfaces.
type Field struct {
	Name string
	// One of them is set.
	text   func(*Use) *string
	number func(*Use) *int
}

// Fields returns the fields of a Use in their order.
func Fields() []Field {
	return []Field{
		{Name: "executable", text: func(u *Use) *string { return &u.Executable }},
		{Name: "unit", text: func(u *Use) *string { return &u.Unit }},
		{Name: "operation", text: func(u *Use) *string { return &u.Operation }},
		{Name: "within", text: func(u *Use) *string { return &u.Within }},
		{Name: "role", text: func(u *Use) *string { return &u.Role }},
		{Name: "source", text: func(u *Use) *string { return &u.Source }},
		{Name: "library", text: func(u *Use) *string { return &u.Library }},
		{Name: "library_id", text: func(u *Use) *string { return &u.LibraryID }},
		{Name: "version", text: func(u *Use) *string { return &u.Version }},
		{Name: "suite", text: func(u *Use) *string { return &u.Suite }},
		{Name: "group", text: func(u *Use) *string { return &u.Group }},
		{Name: "group_bits", number: func(u *Use) *int { return &u.GroupBits }},
		{Name: "signature", text: func(u *Use) *string { return &u.Signature }},
		{Name: "peer_signature", text: func(u *Use) *string { return &u.PeerSignature }},
		{Name: "resumed", text: func(u *Use) *string { return &u.Resumed }},
		{Name: "extended_secret", text: func(u *Use) *string { return &u.ExtendedSecret }},
		{Name: "transport", text: func(u *Use) *string { return &u.Transport }},
		{Name: "kex", text: func(u *Use) *string { return &u.Kex }},
		{Name: "host_key", text: func(u *Use) *string { return &u.HostKey }},
		{Name: "client_key", text: func(u *Use) *string { return &u.ClientKey }},
		{Name: "cipher_out", text: func(u *Use) *string { return &u.CipherOut }},
		{Name: "cipher_in", text: func(u *Use) *string { return &u.CipherIn }},
		{Name: "mac_out", text: func(u *Use) *string { return &u.MACOut }},
		{Name: "mac_in", text: func(u *Use) *string { return &u.MACIn }},
		{Name: "algorithm", text: func(u *Use) *string { return &u.Algorithm }},
		{Name: "curve", text: func(u *Use) *string { return &u.Curve }},
		{Name: "bits", number: func(u *Use) *int { return &u.Bits }},
		{Name: "hash", text: func(u *Use) *string { return &u.Hash }},
		{Name: "padding", text: func(u *Use) *string { return &u.Padding }},
	}
}

// FieldNamed returns the field with a name; ok is false if there is none.
func FieldNamed(name string) (f Field, ok bool) {
	for _, f := range Fields() {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// IsNumber reports whether the values of the field are numbers.
func (f *Field) IsNumber() bool { return f.number != nil }

// Pointer returns the address of the field in a Use, a *string or an *int.
func (f *Field) Pointer(u *Use) any {
	if f.IsNumber() {
		return f.number(u)
	}
	return f.text(u)
}

// Value returns the value of the field, a string or an int.
func (f *Field) Value(u *Use) any {
	if f.IsNumber() {
		return *f.number(u)
	}
	return *f.text(u)
}

// Text returns the value of the field as text; a number is in decimal digits, and empty text if it
// was not recorded.
func (f *Field) Text(u *Use) string {
	if !f.IsNumber() {
		return *f.text(u)
	}
	if n := *f.number(u); n != 0 {
		return strconv.Itoa(n)
	}
	return ""
}

// SetText is the inverse of Text. It returns an error if the text of a number is invalid.
func (f *Field) SetText(u *Use, text string) error {
	if !f.IsNumber() {
		*f.text(u) = text
		return nil
	}
	n := 0
	if text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("cannot use %q as %s: not a number", text, f.Name)
		}
	}
	*f.number(u) = n
	return nil
}

// Compare orders uses by executable, unit, operation and the other fields, in the order of Fields.
func (u *Use) Compare(v *Use) int { return Order()(u, v) }

// Order returns Compare, for many comparisons.
func Order() func(u, v *Use) int {
	fields := Fields()
	return func(u, v *Use) int {
		// The first fields differ most often.
		if c := cmp.Or(strings.Compare(u.Executable, v.Executable), strings.Compare(u.Unit, v.Unit), strings.Compare(u.Operation, v.Operation)); c != 0 {
			return c
		}
		for i := range fields {
			var c int
			if f := &fields[i]; f.IsNumber() {
				c = cmp.Compare(*f.number(u), *f.number(v))
			} else {
				c = strings.Compare(*f.text(u), *f.text(v))
			}
			if c != 0 {
				return c
			}
		}
		return 0
	}
}

// IsHandshake reports whether the operation is a handshake of TLS or SSH.
func (u *Use) IsHandshake() bool { return u.Operation == TLSHandshake || u.Operation == SSHHandshake }

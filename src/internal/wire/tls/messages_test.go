// SPDX-License-Identifier: Apache-2.0

package tls_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"crypto-auditing/src/internal/wire/tls"
)

func u16(numbers ...uint16) (b []byte) {
	for _, n := range numbers {
		b = binary.BigEndian.AppendUint16(b, n)
	}
	return b
}

// vector returns bytes after their length in two bytes.
func vector(b ...[]byte) []byte {
	all := slices.Concat(b...)
	return append(u16(uint16(len(all))), all...)
}

func extension(kind uint16, body ...[]byte) []byte { return append(u16(kind), vector(body...)...) }

// hello returns a ClientHello or a ServerHello.
func hello(kind byte, version uint16, suites []byte, extensions ...[]byte) []byte {
	b := append(u16(version), make([]byte, 32)...)
	b = append(b, 0) // session
	if kind == 1 {
		b = append(append(b, vector(suites)...), 1, 0)
	} else {
		b = append(append(b, suites...), 0)
	}
	return message(kind, append(b, vector(extensions...)...))
}

func TestOfferedGroupsAreTheRegisteredOnes(t *testing.T) {
	var p tls.Parser
	// 0x1a1a is reserved (RFC 8701), 0x9999 is unassigned.
	list := []uint16{0x1a1a, 0x11ec, 0x9999, 29, 23}
	p.Message(false, hello(1, 0x0303, u16(0x1301), extension(10, vector(u16(list...)))))
	if got := p.OfferedGroups(); !slices.Equal(got, []uint16{0x11ec, 29, 23}) {
		t.Errorf("%#x", got)
	}
	p.Reset()
	list = nil
	for range 1000 {
		list = append(list, 24)
	}
	p.Message(false, hello(1, 0x0303, u16(0x1301), extension(10, vector(u16(list...)))))
	if n := len(p.OfferedGroups()); n != 16 {
		t.Errorf("%d groups are kept", n)
	}
}

func TestTheHybridGroupsHaveNames(t *testing.T) {
	for group, want := range map[uint16]string{0x11eb: "SecP256r1MLKEM768", 0x11ec: "X25519MLKEM768", 0x11ed: "SecP384r1MLKEM1024", 0x1a1a: "", 0: ""} {
		if got := tls.GroupName(group); got != want {
			t.Errorf("%#x is %q", group, got)
		}
	}
}

func TestOnlyTicketsHaveAnAge(t *testing.T) {
	identity := func(age byte) []byte { return append(vector([]byte("secret")), 0, 0, 0, age) }
	for name, test := range map[string]struct {
		ages     []byte
		selected uint16
		resumed  tls.Answer
		external bool
	}{
		"a ticket":             {[]byte{7}, 0, tls.Yes, false},
		"an external key":      {[]byte{0}, 0, 0, true},
		"the second, a ticket": {[]byte{0, 7}, 1, tls.Yes, false},
		"the second, a key":    {[]byte{7, 0}, 1, 0, true},
		"a key not offered":    {[]byte{7}, 1, 0, false},
	} {
		var identities []byte
		for _, age := range test.ages {
			identities = append(identities, identity(age)...)
		}
		var p tls.Parser
		p.Message(false, hello(1, 0x0303, u16(0x1301), extension(41, vector(identities), vector(make([]byte, 33)))))
		p.Message(true, hello(2, 0x0303, u16(0x1301), extension(43, u16(0x0304)), extension(51, u16(29), vector(make([]byte, 32))), extension(41, u16(test.selected))))
		p.Finish()
		if p.Resumed != test.resumed || p.ExternalPSK != test.external || p.Invalid() {
			t.Errorf("%s: resumed %d, external %v, invalid %v", name, p.Resumed, p.ExternalPSK, p.Invalid())
		}
	}
}

func TestNothingIsGuessedAboutAnUnknownSuite(t *testing.T) {
	ecdhe := append([]byte{3}, u16(29)...)
	ecdhe = append(append(append(ecdhe, 32), make([]byte, 32)...), u16(0x0804)...)
	ecdhe = append(ecdhe, vector(make([]byte, 64))...)
	for suite, want := range map[uint16][2]uint16{
		0xc02f: {29, 0x0804}, // ECDHE_RSA
		0xc018: {29, 0},      // ECDH_anon
		0x003c: {0, 0},       // RSA
		0xc0b6: {0, 0},       // unassigned
		0xfefe: {0, 0},       // private use
	} {
		var p tls.Parser
		p.Message(false, hello(1, 0x0303, u16(suite)))
		p.Message(true, hello(2, 0x0303, u16(suite)))
		p.Message(true, message(12, ecdhe))
		if p.Group != want[0] || p.ServerSignature != want[1] || p.Suite != suite {
			t.Errorf("%#x: group %d, signature %#x", suite, p.Group, p.ServerSignature)
		}
	}
}

func TestInvalidHellosAreRejected(t *testing.T) {
	whole := hello(1, 0x0303, u16(0x1301))
	for name, b := range map[string][]byte{
		"a cut hello":                message(1, whole[4:40]),
		"bytes after the extensions": message(1, append(slices.Clone(whole[4:]), 1)),
		"an extension that is cut":   hello(1, 0x0303, u16(0x1301), u16(10, 9)),
		"a long session":             message(1, append(append(u16(0x0303), make([]byte, 32)...), append([]byte{33}, make([]byte, 40)...)...)),
		"no suites":                  hello(1, 0x0303, nil),
		"a cut answer":               message(2, whole[4:30]),
	} {
		var p tls.Parser
		p.Message(false, b)
		if !p.Invalid() || p.ClientHello || p.ServerHello || p.Role != 0 {
			t.Errorf("%s: %+v", name, p.Handshake)
		}
	}
	for name, b := range map[string][]byte{
		"HTTP":              []byte("GET / HTTP/1.1\r\n"),
		"an empty record":   {22, 3, 1, 0, 0},
		"a record too long": {22, 3, 1, 0x60, 0},
		"SSL 2":             {0x80, 0x2e, 1, 3, 1},
	} {
		var p tls.Parser
		p.Data(false, b)
		if !p.Invalid() || !p.Done() {
			t.Errorf("%s is valid", name)
		}
	}
}

func TestTwoClientsAreInvalid(t *testing.T) {
	var p tls.Parser
	p.Message(false, hello(1, 0x0303, u16(0x1301)))
	p.Message(true, hello(1, 0x0303, u16(0x1301)))
	if !p.Invalid() {
		t.Error("both sides are clients")
	}
}

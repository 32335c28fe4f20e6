// SPDX-License-Identifier: Apache-2.0

package dtls_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"crypto-auditing/src/internal/wire/dtls"
	"crypto-auditing/src/internal/wire/wiretest"
)

// record encodes a record.
func record(kind uint8, epoch uint16, body ...byte) []byte {
	b := binary.BigEndian.AppendUint16([]byte{kind, 0xfe, 0xfd}, epoch)
	b = append(b, 0, 0, 0, 0, 0, 7)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

// fragment encodes a fragment with its header.
func fragment(kind uint8, length int, number uint16, offset int, data string) []byte {
	n := func(n int) []byte { return []byte{byte(n >> 16), byte(n >> 8), byte(n)} }
	return slices.Concat([]byte{kind}, n(length), binary.BigEndian.AppendUint16(nil, number), n(offset), n(len(data)), []byte(data))
}

// describe returns the contents of the records of a datagram as text.
func describe(datagram []byte) string {
	var b strings.Builder
	for rest := datagram; len(rest) > 0; {
		r, ok := dtls.Next(&rest)
		if !ok {
			b.WriteString("end ")
			continue
		}
		r.Fragments(func(f *dtls.Fragment) {
			fmt.Fprintf(&b, "%d#%d+%d/%d:%s ", f.Kind, f.Number, f.Offset, f.Length, f.Data)
		})
		if level, description, ok := r.Alert(); ok {
			fmt.Fprintf(&b, "alert %d %d ", level, description)
		}
		if r.Finished() {
			b.WriteString("finished ")
		}
	}
	return strings.TrimSpace(b.String())
}

func TestRecordsOfADatagramAreRead(t *testing.T) {
	hello, end := fragment(1, 5, 0, 0, "ab"), fragment(1, 5, 0, 2, "cde")
	short := record(22, 0, hello...)
	for name, test := range map[string]struct {
		datagram []byte
		want     string
	}{
		"a message":                   {record(22, 0, hello...), "1#0+0/5:ab"},
		"two fragments in a record":   {record(22, 0, append(hello, end...)...), "1#0+0/5:ab 1#0+2/5:cde"},
		"two records":                 {append(record(22, 0, hello...), record(22, 0, end...)...), "1#0+0/5:ab 1#0+2/5:cde"},
		"an empty message":            {record(22, 0, fragment(14, 0, 3, 0, "")...), "14#3+0/0:"},
		"a change of keys, Finished":  {append(record(20, 0, 1), record(22, 1, make([]byte, 48)...)...), "finished"},
		"a message of epoch 2":        {record(22, 2, hello...), ""},
		"an alert":                    {record(21, 0, 2, 40), "alert 2 40"},
		"an encrypted alert":          {record(21, 1, make([]byte, 26)...), ""},
		"an alert of three bytes":     {record(21, 0, 2, 40, 0), ""},
		"version 1.3 after a message": {append(record(22, 0, hello...), 0x2e, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), "1#0+0/5:ab end"},
		"a record cut short":          {short[:len(short)-1], "end"},
		"a header cut short":          {short[:12], "end"},
		"another version":             {append([]byte{22, 3, 3}, short[3:]...), "end"},
		"a fragment beyond its end":   {record(22, 0, append(hello, fragment(1, 5, 0, 4, "xy")...)...), "1#0+0/5:ab"},
		"a fragment cut short":        {record(22, 0, append(hello, end[:14]...)...), "1#0+0/5:ab"},
		"a length of 16 MB":           {record(22, 0, fragment(1, 1<<24-1, 0, 1<<24-3, "xy")...), "1#0+16777213/16777215:xy"},
		"nothing":                     {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := describe(test.datagram); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// keep keeps at most eight bytes of a message, and nothing of type 16.
func keep(kind uint8) int {
	if kind == 16 {
		return 0
	}
	return 8
}

func TestMessagesAreAssembledInOrder(t *testing.T) {
	type part struct {
		kind   uint8
		length int
		number uint16
		offset int
		data   string
	}
	hello := part{1, 4, 0, 0, "abcd"}
	for name, test := range map[string]struct {
		parts []part
		want  string
	}{
		"whole":                      {[]part{hello, {11, 2, 1, 0, "xy"}}, "1:abcd 11:xy"},
		"repeated":                   {[]part{hello, hello, {11, 2, 1, 0, "xy"}, hello, {11, 2, 1, 0, "xy"}}, "1:abcd 11:xy"},
		"in reverse order":           {[]part{{12, 1, 2, 0, "z"}, {11, 2, 1, 1, "y"}, {11, 2, 1, 0, "x"}, {1, 4, 0, 2, "cd"}, {1, 4, 0, 0, "ab"}}, "1:abcd 11:xy 12:z"},
		"overlapping":                {[]part{{1, 4, 0, 2, "cd"}, {1, 4, 0, 0, "abc"}}, "1:abcd"},
		"nested":                     {[]part{{1, 4, 0, 1, "b"}, {1, 4, 0, 0, "abc"}, {1, 4, 0, 1, "bcd"}}, "1:abcd"},
		"adjacent parts":             {[]part{{1, 4, 0, 0, "a"}, {1, 4, 0, 2, "c"}, {1, 4, 0, 3, "d"}, {1, 4, 0, 1, "b"}}, "1:abcd"},
		"a gap":                      {[]part{{1, 4, 0, 0, "ab"}, {1, 4, 0, 3, "d"}, {11, 2, 1, 0, "xy"}}, ""},
		"another length":             {[]part{{1, 4, 0, 0, "ab"}, {1, 5, 0, 2, "cd"}}, ""},
		"another type":               {[]part{{1, 4, 0, 0, "ab"}, {11, 4, 0, 2, "cd"}}, ""},
		"the needed bytes":           {[]part{hello, {11, 20, 1, 4, "efghijkl"}, {11, 20, 1, 0, "abcd"}, {12, 1, 2, 0, "z"}}, "1:abcd 11:abcdefgh+ 12:z"},
		"a message that is skipped":  {[]part{hello, {16, 20, 1, 4, "efghijkl"}, {12, 1, 2, 0, "z"}}, "1:abcd 16:+ 12:z"},
		"an empty message":           {[]part{hello, {14, 0, 1, 0, ""}}, "1:abcd 14:"},
		"the first number is 1":      {[]part{{2, 1, 1, 0, "s"}, {11, 1, 2, 0, "x"}}, "2:s 11:x"},
		"the first hello is unknown": {[]part{{11, 1, 2, 0, "x"}, {2, 1, 1, 0, "s"}}, "2:s 11:x"},
		"another hello is requested": {[]part{{3, 2, 0, 0, "co"}, {2, 1, 1, 0, "s"}, {11, 1, 2, 0, "x"}}, "3:co 2:s 11:x"},
		"and numbers restart":        {[]part{{3, 2, 0, 0, "co"}, {2, 1, 0, 0, "s"}, {11, 1, 1, 0, "x"}}, "3:co 2:s 11:x"},
		"no hello":                   {[]part{{11, 1, 0, 0, "x"}, {12, 1, 1, 0, "y"}}, ""},
		"too far ahead":              {[]part{hello, {12, 1, 11, 0, "z"}, {11, 1, 1, 0, "x"}}, "1:abcd 11:x"},
		"numbers that wrap around":   {[]part{{1, 1, 65535, 0, "a"}, {11, 1, 0, 0, "x"}}, "1:a 11:x"},
	} {
		t.Run(name, func(t *testing.T) {
			var a dtls.Assembler
			var got []string
			for _, p := range test.parts {
				f := dtls.Fragment{Kind: p.kind, Length: p.length, Number: p.number, Offset: p.offset, Data: []byte(p.data)}
				a.Add(&f, keep, func(kind uint8, body []byte, more bool) {
					s := fmt.Sprintf("%d:%s", kind, body)
					if more {
						s += "+"
					}
					got = append(got, s)
				})
			}
			if got := strings.Join(got, " "); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestHeldBytesAreBounded(t *testing.T) {
	const bound = 64 << 10
	all := func(uint8) int { return 20 << 10 }
	var a dtls.Assembler
	for number := range uint16(100) {
		for offset := 0; offset < 40<<10; offset += 2 {
			a.Add(&dtls.Fragment{Kind: 11, Length: 40 << 10, Number: number, Offset: offset, Data: []byte("x")}, all, func(uint8, []byte, bool) { t.Fatal("a message has gaps") })
			if a.Held() > bound {
				t.Fatalf("%d bytes are kept", a.Held())
			}
		}
	}
	// Of the kept numbers, one follows this, and the others are dropped.
	a.Add(&dtls.Fragment{Kind: 1, Length: 1, Number: 0xff00, Data: []byte("h")}, all, func(uint8, []byte, bool) {})
	if a.Held() > bound {
		t.Errorf("%d bytes are kept", a.Held())
	}
}

func TestAnotherHandshakeIsRecognisedByItsHello(t *testing.T) {
	hello := func(kind uint8, number uint16, random string) *dtls.Fragment {
		return &dtls.Fragment{Kind: kind, Length: 100, Number: number, Data: []byte("vv" + strings.Repeat(random, 32))}
	}
	var c dtls.Connection
	for i, test := range []struct {
		f              *dtls.Fragment
		finished, want bool
	}{
		{hello(1, 0, "a"), false, false},
		{hello(1, 0, "a"), false, false},
		{hello(2, 0, "r"), false, false}, // a HelloRetryRequest
		{hello(1, 1, "a"), false, false},
		{hello(2, 1, "s"), false, false},
		{hello(1, 0, "b"), false, true},
		{hello(1, 1, "b"), false, false},
		{hello(1, 0, "a"), true, false},
		{hello(2, 0, "r"), true, false},
		{hello(2, 1, "s"), true, false},
		{hello(2, 0, "t"), true, true},
		{hello(11, 0, "t"), true, false},
		{&dtls.Fragment{Kind: 1, Length: 100, Offset: 1, Data: bytes.Repeat([]byte("b"), 50)}, true, false},
		{&dtls.Fragment{Kind: 1, Length: 100, Data: []byte("vvb")}, true, false},
	} {
		if got := c.Restarts(test.f, test.finished); got != test.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

// FuzzDatagrams reads datagrams of both directions and adds their fragments. Bounds must
// hold, and messages must be in order.
func FuzzDatagrams(f *testing.F) {
	for _, c := range wiretest.Captures(f) {
		if c.Want["protocol"] != "dtls" {
			continue
		}
		var input []byte
		for _, p := range c.Portions {
			direction := byte(0)
			if p.FromClient {
				direction = 1
			}
			input = append(binary.BigEndian.AppendUint16(append(input, direction), uint16(len(p.Data))), p.Data...)
		}
		f.Add(input)
	}
	f.Fuzz(func(t *testing.T, input []byte) {
		var c dtls.Connection
		all := func(kind uint8) int { return int(kind) << 7 }
		for len(input) >= 3 {
			received := input[0]&1 == 1
			n := min(len(input)-3, int(binary.BigEndian.Uint16(input[1:])))
			datagram := input[3 : 3+n]
			input = input[3+n:]
			for len(datagram) > 0 {
				r, ok := dtls.Next(&datagram)
				if !ok {
					break
				}
				r.Alert()
				r.Fragments(func(m *dtls.Fragment) {
					c.Restarts(m, false)
					c.Add(received, m, all, func(kind uint8, body []byte, more bool) {
						if len(body) > all(kind) || more && len(body) < all(kind) {
							t.Fatalf("%d bytes of a message of type %d", len(body), kind)
						}
					})
					if c.Held() > 2*64<<10 {
						t.Fatalf("%d bytes are kept", c.Held())
					}
				})
			}
		}
	})
}

// FuzzAssembler cuts messages into fragments and reorders them. The assembled messages must
// be unchanged, unless a completed flight was repeated.
func FuzzAssembler(f *testing.F) {
	f.Add([]byte("hello"), []byte("certificate"), uint64(1))
	f.Add([]byte{}, bytes.Repeat([]byte("long"), 3000), uint64(2))
	f.Fuzz(func(t *testing.T, hello, certificate []byte, seed uint64) {
		if len(hello)+len(certificate) > 30<<10 {
			return
		}
		random := rand.New(rand.NewPCG(seed, 0))
		var parts []dtls.Fragment
		for number, body := range [][]byte{hello, certificate} {
			kind := uint8(2 + 9*number)
			for at := 0; at == 0 || at < len(body); {
				from := max(0, at-random.IntN(20))
				to := min(len(body), at+1+random.IntN(500))
				parts = append(parts, dtls.Fragment{Kind: kind, Length: len(body), Number: uint16(number), Offset: from, Data: body[from:to]})
				at = max(to, 1)
			}
		}
		for i := range parts {
			j := min(len(parts)-1, i+random.IntN(30))
			parts[i], parts[j] = parts[j], parts[i]
		}
		var a dtls.Assembler
		var got [][]byte
		for _, p := range append(parts, parts...) {
			a.Add(&p, func(uint8) int { return 1 << 20 }, func(_ uint8, body []byte, more bool) {
				if more {
					t.Fatal("a message is cut")
				}
				got = append(got, bytes.Clone(body))
			})
		}
		if len(got) != 2 || !bytes.Equal(got[0], hello) || !bytes.Equal(got[1], certificate) || a.Held() != 0 {
			t.Fatalf("%q from %q and %q, %d bytes are kept", got, hello, certificate, a.Held())
		}
	})
}

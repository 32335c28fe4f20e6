// SPDX-License-Identifier: Apache-2.0

package transport

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/godbus/dbus/v5"
)

// sample returns a call in the encoding of another implementation, with a sender as added
// by a bus.
func sample(t testing.TB, order binary.ByteOrder, sender string) []byte {
	t.Helper()
	m := &dbus.Message{Type: dbus.TypeMethodCall, Flags: dbus.FlagAllowInteractiveAuthorization, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldPath: dbus.MakeVariant(dbus.ObjectPath("/org/crypto_auditing/Broker")), dbus.FieldMember: dbus.MakeVariant("Read"),
		dbus.FieldInterface: dbus.MakeVariant("org.crypto_auditing.Broker"), dbus.FieldDestination: dbus.MakeVariant("org.crypto_auditing.Broker"),
		dbus.FieldSender: dbus.MakeVariant(sender), dbus.FieldSignature: dbus.MakeVariant(dbus.ParseSignatureMust("su")),
		dbus.FieldUnixFDs: dbus.MakeVariant(uint32(0)),
	}, Body: []any{"oldest", uint32(7)}}
	var b bytes.Buffer
	if err := m.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	order.PutUint32(b.Bytes()[serialAt:], 77)
	return b.Bytes()
}

func TestHeaderIsReadInBothByteOrders(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		b := sample(t, order, ":1.234")
		h, err := parseFixed(b)
		if err != nil {
			t.Fatal(err)
		}
		if h.size() != uint64(len(b)) || h.kind != typeCall || h.flags != byte(dbus.FlagAllowInteractiveAuthorization) || h.Serial != 77 {
			t.Errorf("%v: %+v of %d bytes, want %d", order, h, h.size(), len(b))
		}
		if err := h.parseFields(b[fixedHeader:h.body()]); err != nil || h.Sender != ":1.234" {
			t.Errorf("%v: sender %q, %v", order, h.Sender, err)
		}
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(sample(f, binary.LittleEndian, ":1.2"))
	f.Add(sample(f, binary.BigEndian, ""))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < fixedHeader {
			return
		}
		h, err := parseFixed(b)
		if err != nil {
			return
		}
		if h.body() <= uint64(len(b)) {
			_ = h.parseFields(b[fixedHeader:h.body()])
		}
	})
}

// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"slices"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
	"crypto-auditing/src/internal/logstore/frame"
)

func TestFiltersContainEveryTermOfAnEntry(t *testing.T) {
	g := event.Group{
		Context: event.ContextID{1}, Name: []byte("tls::handshake"), Executable: []byte("nginx"), Unit: []byte("nginx.service"), Source: []byte(event.Wire),
		Events: []event.Event{{Kind: event.NewContext}, {Key: []byte("tls::group"), Value: event.Value{Word: 29}}},
	}
	want := []uint64{
		logstore.TermHash(logstore.Name, "tls::handshake"), logstore.TermHash(logstore.Executable, "nginx"),
		logstore.TermHash(logstore.Unit, "nginx.service"), logstore.TermHash(logstore.Source, "wire"), logstore.TermHash(logstore.Key, "tls::group"),
	}
	values := []uint64{frame.NewValueSeed("tls::group").Word(29)}
	if got, gotValues := Terms()(nil, nil, event.Append(nil, &g)); !slices.Equal(got, want) || !slices.Equal(gotValues, values) {
		t.Errorf("%x and %x, want %x and %x", got, gotValues, want, values)
	}
	if got, gotValues := Terms()(nil, nil, []byte{0x80}); len(got)+len(gotValues) != 0 {
		t.Errorf("terms of invalid CBOR: %x, %x", got, gotValues)
	}
}

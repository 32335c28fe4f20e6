// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"slices"
	"testing"

	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/logstore"
)

func TestFiltersHoldEveryTermOfAnEntry(t *testing.T) {
	g := event.Group{
		Context: event.ContextID{1}, Name: []byte("tls::handshake"), Executable: []byte("nginx"), Unit: []byte("nginx.service"), Source: []byte(event.Wire),
		Events: []event.Event{{Kind: event.NewContext}, {Key: []byte("tls::group"), Value: event.Value{Word: 29}}},
	}
	want := []uint64{
		logstore.TermHash(logstore.Name, "tls::handshake"), logstore.TermHash(logstore.Executable, "nginx"),
		logstore.TermHash(logstore.Unit, "nginx.service"), logstore.TermHash(logstore.Source, "wire"), logstore.TermHash(logstore.Key, "tls::group"),
	}
	if got := Terms()(nil, event.Append(nil, &g)); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	if got := Terms()(nil, []byte{0x80}); len(got) != 0 {
		t.Errorf("of something else: %x", got)
	}
}

// SPDX-License-Identifier: Apache-2.0

package marshal

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/broker/operations"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/schema"
)

// some returns an operation at random.
func some(r *rand.Rand, depth int) operations.Operation {
	text := func() string { return "some longer text"[:r.IntN(17)] }
	o := operations.Operation{
		Context: text(), Name: text(), Executable: text(), Unit: text(), Library: text(), Start: r.Uint64(), End: r.Uint64(),
		Orphan: r.IntN(2) == 0, Summary: []operations.Text{},
	}
	for i := range r.IntN(4) {
		o.Data = append(o.Data, schema.Datum{Key: fmt.Sprint("k", i), Value: event.Value{Kind: event.Blob, Bytes: make([]byte, r.IntN(20))}})
		o.Names = append(o.Names, operations.Text{Key: fmt.Sprint("k", i), Text: text()})
	}
	if depth == 0 {
		o.Cursor = "cursor"
	}
	for range r.IntN(4 - depth) {
		o.Children = append(o.Children, some(r, depth+1))
	}
	return o
}

// decodedBody returns what another implementation reads in a message.
func decodedBody(t *testing.T, parts [][]byte) []any {
	t.Helper()
	m, err := dbus.DecodeMessage(bytes.NewReader(bytes.Join(parts, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return m.Body
}

func TestOperationsAreTheSameInSignalsAndReplies(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		reply := NewOperations(1<<20, 1)
		reply.Next = "next"
		var all []byte
		for range 1 + r.IntN(4) {
			o := some(r, 0)
			all = AppendOperation(all, &o)
			if !reply.Take(&o, false) {
				t.Fatal("no room")
			}
		}
		signal := decodedBody(t, OperationsSignal(1, ":1.2", "/path", subscription, all, "next"))
		answer := decodedBody(t, reply.Reply(1, ":1.2", 3))
		if len(signal) != 2 || len(answer) != 3 || !reflect.DeepEqual(signal, answer[:2]) || len(signal[0].([]map[string]dbus.Variant)) == 0 {
			t.Fatalf("signal %v\nreply  %v", signal, answer)
		}
	}
}

func TestAnOperationThatMustBeTakenDoesNotDependOnTheRoom(t *testing.T) {
	large := func(bytes int) *operations.Operation {
		datum := schema.Datum{Key: "k", Value: event.Value{Kind: event.Blob, Bytes: make([]byte, bytes)}}
		return &operations.Operation{Context: "c", Cursor: "cursor", Children: []operations.Operation{{Data: []schema.Datum{datum}}}}
	}
	for bytes, truncated := range map[int]bool{100: false, 1 << 20: false, maxReply: true} {
		for _, room := range []int{10, 1 << 10, 2 << 20} {
			p := NewOperations(room, 1)
			if o := large(bytes); bytes > room && p.Take(o, false) || !p.Take(o, true) || o.Truncated != truncated || (o.Children == nil) != truncated {
				t.Errorf("%d bytes in %d: truncated %v", bytes, room, o.Truncated)
			}
		}
	}
	for bytes, truncated := range map[int]bool{100: false, maxSignal: true} {
		o := large(bytes)
		if all := AppendOperation(nil, o); o.Truncated != truncated || len(all) > maxSignal {
			t.Errorf("%d bytes in a signal: %d, truncated %v", bytes, len(all), o.Truncated)
		}
	}
}

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

// randomOperation returns a random operation.
func randomOperation(r *rand.Rand, depth int) operations.Operation {
	text := func() string { return "some longer text"[:r.IntN(17)] }
	o := operations.Operation{
		Context: event.ContextID{byte(r.IntN(256))}, Name: text(), Executable: text(), Unit: text(), Library: text(), Start: r.Uint64(), End: r.Uint64(),
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
		o.Children = append(o.Children, randomOperation(r, depth+1))
	}
	return o
}

// decodedBody decodes the body of a message with another implementation.
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
		var signals, replies []byte
		n := r.IntN(5)
		for range n {
			o := randomOperation(r, 0)
			signals, replies = InSignals.Append(signals, &o), InReplies.Append(replies, &o)
		}
		reply := Operations{Operations: replies, Next: "next", Missing: 7}
		signal := decodedBody(t, OperationsSignal(1, ":1.2", "/path", subscription, signals, "next"))
		answer := decodedBody(t, reply.Reply(1, ":1.2", 3))
		if len(signal) != 2 || len(answer) != 3 || !reflect.DeepEqual(signal, answer[:2]) || len(signal[0].([]map[string]dbus.Variant)) != n ||
			signal[1] != "next" || answer[2] != uint64(7) {
			t.Fatalf("signal %v\nreply  %v", signal, answer)
		}
	}
}

func TestATooLargeOperationIsShortened(t *testing.T) {
	datum := func(bytes int) []schema.Datum {
		return []schema.Datum{{Key: "k", Value: event.Value{Kind: event.Blob, Bytes: make([]byte, bytes)}}}
	}
	for _, f := range []OperationEncoder{InSignals, InReplies} {
		for name, sizes := range map[string][2]int{"small": {10, 10}, "large inside": {10, int(f)}, "large": {int(f), 10}} {
			o := operations.Operation{Cursor: "cursor", Data: datum(sizes[0]), Children: []operations.Operation{{Data: datum(sizes[1])}}}
			all := f.Append(nil, &o)
			whole := name == "small"
			if len(all) > int(f) || o.Truncated == whole || (o.Children == nil) == whole || (o.Data == nil) != (name == "large") {
				t.Errorf("%s: %d bytes of %d, truncated %v", name, len(all), f, o.Truncated)
			}
			if reply := (&Operations{Operations: all}).Reply(1, ":1.2", 3); len(decodedBody(t, reply)[0].([]map[string]dbus.Variant)) != 1 {
				t.Errorf("%s: the reply does not have one operation", name)
			}
		}
	}
}

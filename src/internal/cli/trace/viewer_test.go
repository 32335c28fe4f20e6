// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"crypto-auditing/src/internal/cli/console"
	"crypto-auditing/src/internal/event"
	"crypto-auditing/src/internal/pipeline/window"
)

// On a busy machine, the socket may add to a handshake after it was shown.
func TestLateValuesAreNotShownAsAnOperation(t *testing.T) {
	e := console.System("")
	e.Stderr = &bytes.Buffer{}
	file := filepath.Join(t.TempDir(), "operations")
	v, err := newViewer(&e, &options{output: "json", file: file})
	if err != nil {
		t.Fatal(err)
	}
	// Just after the boot: old enough to be shown at once.
	const at = 1
	add := func(id byte, source event.Source, events ...event.Event) {
		g := event.Group{
			Context: event.ContextID{id}, Start: at, End: at, Name: []byte("tls::handshake"), Executable: []byte("curl"),
			Source: []byte(source), Events: events,
		}
		var b window.Batch
		b.Entries = event.Append(nil, &g)
		v.take(&b)
	}
	text := func(key, value string) event.Event {
		return event.Event{Kind: event.Data, Key: []byte(key), Value: event.Value{Kind: event.String, Bytes: []byte(value)}}
	}
	begin := func(id byte) event.Event {
		return event.Event{Kind: event.NewContext, Parent: event.ContextID{id}, Executable: []byte("curl")}
	}
	add(1, event.Function, begin(1), text("name", "tls::handshake"), text("tls::role", "client"))
	v.settle()
	add(1, event.Wire, text("tls::transport", "tcp"))
	v.settle()
	// Context 2 began before the trace, and is an operation. Context 1 is reused by another
	// operation.
	add(2, event.Wire, text("tls::transport", "tcp"))
	add(1, event.Function, begin(1), text("name", "tls::handshake"), text("tls::role", "server"))
	if err := v.close(); err != nil {
		t.Fatal(err)
	}
	shown, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(shown), "\n"); lines != 3 || strings.Count(string(shown), `"tcp"`) != 1 {
		t.Errorf("shown are %d operations, want 3:\n%s", lines, shown)
	}
	if unseen := v.missing(); len(unseen) != 1 || !strings.HasPrefix(unseen[0], "1 groups of values") {
		t.Errorf("the unseen are %q", unseen)
	}
}

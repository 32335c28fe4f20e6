// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"bytes"
	"context"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/godbus/dbus/v5"

	"crypto-auditing/src/internal/busservice/bustest"
	"crypto-auditing/src/internal/cli"
)

// fakeInventory owns the bus names of broker and inventory, and returns arbitrary answers. For nil members it
// answers like an empty inventory.
type fakeInventory struct {
	// newest is a property of the broker; counting and upToDate are properties of the inventory.
	newest, counting, upToDate any
	// list, summarize and export return the answers of calls.
	list, summarize, export func() []any
}

const (
	fakeStore  = "0123456789abcdef0123456789abcdef"
	fakeCursor = fakeStore + "-0000000000000007"
)

// serve serves a fake on a bus until the test ends.
func (f *fakeInventory) serve(t *testing.T, bus *bustest.Bus) {
	t.Helper()
	conn, err := dbus.Connect(bus.Address, dbus.WithHandler(fakeHandler{f}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for _, name := range []string{"org.crypto_auditing.Broker", "org.crypto_auditing.Inventory"} {
		if reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
			t.Fatalf("cannot own %s: %v, %v", name, reply, err)
		}
	}
}

// fakeHandler provides the methods of a fake.
type fakeHandler struct{ *fakeInventory }

func (h fakeHandler) LookupObject(dbus.ObjectPath) (dbus.ServerObject, bool) { return h, true }

func (h fakeHandler) LookupInterface(string) (dbus.Interface, bool) { return h, true }

func (h fakeHandler) LookupMethod(name string) (dbus.Method, bool) {
	return fakeMethod{h.fakeInventory, name}, true
}

// fakeMethod answers calls of one method.
type fakeMethod struct {
	*fakeInventory
	name string
}

func (m fakeMethod) Call(arguments ...any) ([]any, error) {
	or := func(values func() []any, empty ...any) ([]any, error) {
		if values == nil {
			return empty, nil
		}
		return values(), nil
	}
	property := func(value, usual any) ([]any, error) {
		if value == nil {
			value = usual
		}
		return []any{dbus.MakeVariant(value)}, nil
	}
	var rows []map[string]dbus.Variant
	switch m.name {
	case "List":
		return or(m.list, rows, "")
	case "Summarize":
		return or(m.summarize, rows)
	case "Export":
		return or(m.export, "no document")
	case "Get":
		switch arguments[1] {
		case "Newest":
			return property(m.newest, fakeCursor)
		case "UpToDate":
			return property(m.upToDate, fakeCursor)
		case "Counting":
			return property(m.counting, false)
		}
	}
	return nil, dbus.MakeFailedError(io.EOF)
}

func (m fakeMethod) NumArguments() int { return 3 }

func (m fakeMethod) NumReturns() int { return 2 }

func (m fakeMethod) ArgumentValue(int) any { return nil }

func (m fakeMethod) ReturnValue(int) any { return nil }

// DecodeArguments implements dbus.ArgumentDecoder: it accepts any arguments.
func (m fakeMethod) DecodeArguments(_ *dbus.Conn, _ string, _ *dbus.Message, arguments []any) ([]any, error) {
	return arguments, nil
}

// document returns the answer of Export with a pipe that contains a document. With a nil document, the pipe stays
// open and empty.
func document(t *testing.T, text []byte) func() []any {
	return func() []any {
		read, write, err := os.Pipe()
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { read.Close(); write.Close() })
		if text != nil {
			go func() {
				defer write.Close()
				_, _ = write.Write(text) // the reader may close the pipe early
			}()
		}
		return []any{dbus.UnixFD(read.Fd())}
	}
}

// endless returns the answer of Export with a document that never ends.
func endless(t *testing.T) func() []any {
	return func() []any {
		read, write, err := os.Pipe()
		if err != nil {
			t.Error(err)
			return nil
		}
		go func() {
			defer write.Close()
			blank := bytes.Repeat([]byte(" "), 1<<16)
			for {
				if _, err := write.Write(blank); err != nil {
					return
				}
			}
		}()
		t.Cleanup(func() { read.Close() })
		return []any{dbus.UnixFD(read.Fd())}
	}
}

func values(v ...any) func() []any { return func() []any { return v } }

// hostileUses is a document with invalid content: control characters, wrong order, huge numbers.
const hostileUses = `{"observed_version":1,"observed":{
"Uses":[
 {"Start":"0001-01-01T00:00:00Z","Length":-9223372036854775808,"Executable":"\u001b[2Jprogram\n\u0000","Unit":"\u202eunit","Library":"\u0007lib","LibraryID":"\u001b]0;x\u0007","Source":"\u001b[31m",
  "Operation":"tls::handshake","Role":"\r\u001b[1A","Version":"TLS 1.3\u001b[5m","Suite":"0x\u009b31m","Group":"x25519\u0085","Bits":-9223372036854775808,"GroupBits":-1,
  "Count":18446744073709551615,"Failures":18446744073709551615,"Relays":18446744073709551615,"First":"9999-12-31T23:59:59Z","Last":"0000-01-01T00:00:00Z"},
 {"Operation":"\u001b[2J","Count":18446744073709551615,"Hash":"\u001b","Algorithm":"\u001b","Curve":"\u001b","Padding":"\u001b"},
 {"Operation":"ssh::handshake","Kex":"\u001b[2J","HostKey":"\u001b[2J","ClientKey":"\u001b[2J","CipherOut":"\u001b","CipherIn":"\u001b[2J","MACOut":"\u001b","MACIn":"\u001b[2J","Count":1}],
"Weeks":[{"Start":"9999-12-31T00:00:00Z","Operation":"tls::handshake","Group":"\u001b[2J","Count":18446744073709551615},{"Operation":"tls::handshake","Count":1}],
"Coverage":{"from":"9999-12-31T23:59:59Z","to":"0000-01-01T00:00:00Z","down":[{"from":"9999-12-31T23:59:59Z","to":"0000-01-01T00:00:00Z","reason":"\u001b[2J","library":"\u001b[2J"},{"from":"0000-01-01T00:00:00Z","to":"9999-12-31T23:59:59Z","reason":"\u001b[2J"}],
 "lost":{"\u001b[2J":18446744073709551615,"b":2},"missing":18446744073709551615,"sources":["\u001b[2J"],"libraries":[{"id":"\u001b","name":"\u001b[2J","operations":18446744073709551615}],
 "programs":[{"executable":"\u001b[2J","unit":"\u001b[2J","handshakes":1,"key_exchange":18446744073709551615,"authentication":2,"socket":18446744073709551615}],
 "unseen":["\u001b[2J\n\u009b"],"first":18446744073709551615,"last":1,"chain":"\u001b[2J"}}}`

func TestArbitraryAnswersOfTheInventoryDoNoHarm(t *testing.T) {
	good := document(t, []byte(`{"observed_version":1,"observed":{"Uses":null,"Weeks":null,"Coverage":{"from":"2026-07-01T00:00:00Z","to":"2026-07-02T00:00:00Z"}}}`))
	variants := []map[string]dbus.Variant{{"count": dbus.MakeVariant("many"), "executable": dbus.MakeVariant([]string{"\x1b[2J"}), "first": dbus.MakeVariant(uint64(math.MaxUint64)), "x": dbus.MakeVariant(1)}}
	for name, c := range map[string]struct {
		fake      *fakeInventory
		arguments []string // after the command
		fails     bool
		want      string // part of the errors
	}{
		"an empty inventory":             {&fakeInventory{export: good}, nil, false, ""},
		"no descriptor":                  {&fakeInventory{}, nil, true, "Export returned a value of type s"},
		"a number for a descriptor":      {&fakeInventory{export: values(int32(1))}, nil, true, "Export returned a value of type i"},
		"a descriptor in a variant":      {&fakeInventory{export: values(dbus.MakeVariant(uint32(2)))}, nil, true, "Export returned a value of type v"},
		"no value":                       {&fakeInventory{export: values()}, nil, true, "Export returned 0 values"},
		"many values":                    {&fakeInventory{export: values("a", "b", uint64(3))}, nil, true, "Export returned 3 values"},
		"an empty document":              {&fakeInventory{export: document(t, []byte{})}, nil, true, "not a document of what was observed"},
		"noise":                          {&fakeInventory{export: document(t, bytes.Repeat([]byte{0xff, 0, '{', '"'}, 1000))}, nil, true, "not a document of what was observed"},
		"half a document":                {&fakeInventory{export: document(t, []byte(`{"observed_version":1,"observed":{"Uses":[{"Count":1`))}, nil, true, "not a document of what was observed"},
		"a document of wrong types":      {&fakeInventory{export: document(t, []byte(`{"observed_version":1,"observed":{"Uses":{"Count":[]}}}`))}, nil, true, "not a document of what was observed"},
		"a document of another version":  {&fakeInventory{export: document(t, []byte(`{"observed_version":99,"observed":{}}`))}, nil, true, "it has the version 99"},
		"a negative count":               {&fakeInventory{export: document(t, []byte(`{"observed_version":1,"observed":{"Uses":[{"Count":-1}]}}`))}, nil, true, "not a document of what was observed"},
		"an invalid year":                {&fakeInventory{export: document(t, []byte(`{"observed_version":1,"observed":{"Uses":[{"First":"99999-01-01T00:00:00Z"}]}}`))}, nil, true, "not a document of what was observed"},
		"deeply nested objects":          {&fakeInventory{export: document(t, bytes.Repeat([]byte(`{"observed":`), 100_000))}, nil, true, "not a document of what was observed"},
		"a document without end":         {&fakeInventory{export: endless(t)}, nil, true, "a document of more than 64 MiB"},
		"a document without content":     {&fakeInventory{export: document(t, nil)}, nil, true, "the inventory has not answered in time: see systemctl status crypto-auditing-inventory"},
		"control characters":             {&fakeInventory{export: document(t, []byte(hostileUses))}, nil, false, ""},
		"hostile names":                  {&fakeInventory{summarize: values(variants), export: good}, []string{"--executable", "*"}, false, ""},
		"sums of another type":           {&fakeInventory{summarize: values("rows"), export: good}, []string{"--executable", "*"}, true, "Summarize"},
		"rows of another type":           {&fakeInventory{list: values(map[string]string{"a": "b"}, uint32(1)), export: good}, nil, true, "List"},
		"no rows":                        {&fakeInventory{list: values(), export: good}, nil, true, "List"},
		"a newest of another type":       {&fakeInventory{newest: []string{"x"}, export: good}, nil, true, "property Newest"},
		"a newest that is not a cursor":  {&fakeInventory{newest: "\x1b[2J", export: good}, nil, false, ""},
		"a cursor of another type":       {&fakeInventory{upToDate: []string{"x"}, export: good}, nil, true, "property UpToDate"},
		"a cursor of another log":        {&fakeInventory{upToDate: "another-1", export: good}, nil, false, ""},
		"counting of another type":       {&fakeInventory{counting: "yes", export: good}, nil, true, "property Counting"},
		"counting without progress":      {&fakeInventory{counting: true, upToDate: fakeStore + "-0000000000000001", export: good}, nil, false, ""},
		"a missing answer":               {&fakeInventory{list: func() []any { <-t.Context().Done(); return nil }}, nil, true, "the inventory has not answered in time"},
		"a document that is a directory": {&fakeInventory{export: descriptor(t, ".")}, nil, true, "not a document"},
		"a document that is a device":    {&fakeInventory{export: descriptor(t, "/dev/zero")}, nil, true, "not a document"},
		"a document that has no bytes":   {&fakeInventory{export: descriptor(t, os.DevNull)}, nil, true, "not a document"},
	} {
		t.Run(name, func(t *testing.T) {
			bus := bustest.Start(t, bustest.Daemon)
			c.fake.serve(t, bus)
			waits := strings.Contains(c.want, "in time") || name == "counting without progress"
			for _, command := range [][]string{{"report"}, {"inventory"}, {"summary"}, {"cbom"}, {"policy", "check", "--policy-dir", policies, "OLD"}, {"report", "-o", "html"}, {"inventory", "-o", "csv"}} {
				var stdout, stderr bytes.Buffer
				e := environment(t, &stdout, &stderr)
				e.AnswerTime = 5 * time.Minute
				if waits {
					e.AnswerTime = time.Second
				}
				e.Lookup = func(name string) (string, bool) { return bus.Address, name == "DBUS_SYSTEM_BUS_ADDRESS" }
				code := cli.Run(context.Background(), append(command, c.arguments...), e)
				if c.fails != (code == 1) || c.fails && (stdout.Len() > 0 || strings.Count(stderr.String(), "\n") != 1) || !strings.Contains(stderr.String(), c.want) {
					t.Errorf("%v: exit code %d, output %q, errors %q, want %q", command, code, &stdout, &stderr, c.want)
				}
				for _, r := range stdout.String() + stderr.String() {
					if unicode.IsControl(r) && r != '\n' && r != '\r' || r == '\u202e' {
						t.Errorf("%v: the output has %q: %q", command, r, &stdout)
						break
					}
				}
				if waits || name == "a document without end" {
					break // it takes long, and all commands make the same call
				}
			}
		})
	}
}

// descriptor returns the answer of Export with a file.
func descriptor(t *testing.T, name string) func() []any {
	return func() []any {
		file, err := os.Open(name)
		if err != nil {
			t.Error(err)
			return nil
		}
		t.Cleanup(func() { file.Close() })
		return []any{dbus.UnixFD(file.Fd())}
	}
}

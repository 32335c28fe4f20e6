// SPDX-License-Identifier: Apache-2.0

package function

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/schema"
	"crypto-auditing/src/internal/wire"
)

// numbers are the values of a call.
type numbers map[layout.ValueID]uint32

// with returns the values with some replaced.
func (n numbers) with(other numbers) numbers {
	n = maps.Clone(n)
	maps.Copy(n, other)
	return n
}

// without returns the values without some.
func (n numbers) without(ids ...layout.ValueID) numbers {
	n = maps.Clone(n)
	for _, id := range ids {
		delete(n, id)
	}
	return n
}

// client13 is a full TLS 1.3 handshake of a client with an ECDSA certificate.
func client13() numbers {
	return numbers{
		layout.Version: 0x304, layout.Server: 0, layout.CipherSuite: 0x1302, layout.Group: 0x1d, layout.SessionGroup: 0x1d,
		layout.KeyExchanged: 1, layout.PeerScheme: 0x403, layout.Resumed: 0, layout.HandState: 1, layout.FlowState: 0,
	}
}

// server12 is a full TLS 1.2 handshake of a server.
func server12() numbers {
	return numbers{
		layout.Version: 0x303, layout.Server: 1, layout.CipherSuite: 0x0300c02f, layout.Group: 0, layout.SessionGroup: 0x17,
		layout.KeyExchanged: 0, layout.OwnScheme: 0x804, layout.Resumed: 0, layout.HandState: 1, layout.FlowState: 0,
	}
}

var (
	sslID    = []byte{1, 1}
	cryptoID = []byte{2, 2}
)

func end(kind Kind, n numbers) *Call {
	return &Call{Kind: kind, Start: 10, Time: 20, Task: 7<<32 | 8, Connection: 5, Executable: "curl", BuildID: sslID, Value: n.value}
}

func (n numbers) value(id layout.ValueID) (uint32, bool) {
	v, ok := n[id]
	return v, ok
}

func key(o layout.Operation, kind string, n numbers) *Call {
	return &Call{
		Kind: KeyOperation, Operation: o, Time: 15, Task: 7<<32 | 8, Executable: "curl", BuildID: cryptoID, Type: kind, Value: n.value,
	}
}

// inside makes a call part of the handshake and of a certificate chain.
func inside(c *Call, chain uint32) *Call {
	c.Connection, c.Chain = 5, chain
	return c
}

func chain(number, state uint32) *Call {
	n := numbers{layout.HandState: state}
	return &Call{Kind: Chain, Chain: number, Connection: 5, Task: 7<<32 | 8, Executable: "curl", BuildID: cryptoID, Value: n.value}
}

// tracked passes calls to a tracker, and returns the resulting operations as text.
func tracked(t *testing.T, calls ...*Call) (tracker *Tracker, source *Source, operations string, quarantined []string) {
	t.Helper()
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	source = New()
	var b strings.Builder
	tracker = NewTracker(source, registry, func(o *Operation) {
		write(&b, &o.Root, "")
	}, func(q *QuarantineError) { quarantined = append(quarantined, q.Reason) })
	for _, c := range calls {
		tracker.Add(c)
	}
	return tracker, source, b.String(), quarantined
}

func write(b *strings.Builder, c *wire.Context, indent string) {
	fmt.Fprintf(b, "%s%s", indent, c.Name)
	for _, e := range c.Elements {
		key := e.Key[strings.LastIndexByte(e.Key, ':')+1:]
		if e.Text != "" {
			fmt.Fprintf(b, " %s=%s", key, e.Text)
		} else {
			fmt.Fprintf(b, " %s=%#x", key, e.Word)
		}
	}
	b.WriteByte('\n')
	for i := range c.Contexts {
		write(b, &c.Contexts[i], indent+"  ")
	}
}

func TestCallsBecomeOperations(t *testing.T) {
	ec := numbers{layout.KeyBits: 256, layout.KeyCurve: 415, layout.KeyID: 408}
	sign := func() *Call {
		c := key(layout.Sign, "EC", ec)
		c.Digest = "SHA2-256"
		return c
	}
	verify := func() *Call {
		c := key(layout.Verify, "RSA", numbers{layout.KeyBits: 2048, layout.DigestContextNID: 64})
		return c
	}
	generate := func() *Call {
		c := key(layout.Generate, "X25519", nil)
		c.Group = "X25519"
		return c
	}
	with := func(c *Call, change func(*Call)) *Call {
		change(c)
		return c
	}
	for name, c := range map[string]struct {
		calls []*Call
		want  string
	}{
		"a client of TLS 1.3": {
			[]*Call{
				inside(generate(), 0), inside(key(layout.Derive, "X25519", numbers{layout.KeyBits: 253}), 0),
				chain(1, 4), inside(verify(), 1), inside(sign(), 0), inside(verify(), 0), end(Completed, client13().with(numbers{layout.OwnScheme: 0x503})),
			}, `
			tls::handshake role=client protocol_version=0x304 ciphersuite=0x1302 resumed=0x0 result=completed
			  tls::key_exchange group=0x1d
			    pk::generate algorithm=ECDH (X25519) group=X25519
			    pk::derive algorithm=ECDH (X25519) bits=0xfd
			  tls::verify_cert_chain
			    pk::verify algorithm=RSA bits=0x800 hash=SHA1
			  tls::verify signature_algorithm=0x403
			    pk::verify algorithm=RSA bits=0x800 hash=SHA1
			  tls::sign signature_algorithm=0x503
			    pk::sign algorithm=EC/ECDSA curve=SECP256R1 bits=0x100 hash=SHA256
			`,
		},
		"a server's own chain is not its peer's": {
			[]*Call{chain(1, 23), inside(verify(), 1), inside(sign(), 0), end(Completed, server12())}, `
			tls::handshake role=server protocol_version=0x303 ciphersuite=0xc02f resumed=0x0 result=completed
			  tls::key_exchange group=0x17
			  tls::sign signature_algorithm=0x804
			    pk::sign algorithm=EC/ECDSA curve=SECP256R1 bits=0x100 hash=SHA256
			  pk::verify algorithm=RSA bits=0x800 hash=SHA1
			`,
		},
		"static RSA has no signature": {
			[]*Call{end(Completed, server12().with(numbers{layout.CipherSuite: 0x009c, layout.SessionGroup: 0}))}, `
			tls::handshake role=server protocol_version=0x303 ciphersuite=0x9c resumed=0x0 result=completed
			`,
		},
		"a resumed session has no group in TLS 1.2": {
			[]*Call{end(Completed, server12().with(numbers{layout.Resumed: 1}))}, `
			tls::handshake role=server protocol_version=0x303 ciphersuite=0xc02f resumed=0x1 result=completed
			`,
		},
		"a group of a provider is not a group of TLS": {
			[]*Call{end(Completed, server12().with(numbers{layout.SessionGroup: 0x1000000 | 415}))}, `
			tls::handshake role=server protocol_version=0x303 ciphersuite=0xc02f resumed=0x0 result=completed
			  tls::sign signature_algorithm=0x804
			`,
		},
		"a client without a certificate signs nothing": {
			[]*Call{end(Completed, client13().with(numbers{layout.OwnScheme: 0x503}))}, `
			tls::handshake role=client protocol_version=0x304 ciphersuite=0x1302 resumed=0x0 result=completed
			  tls::key_exchange group=0x1d
			  tls::verify signature_algorithm=0x403
			`,
		},
		"a refused value is skipped": {
			[]*Call{end(Completed, client13().without(layout.Resumed, layout.SessionGroup, layout.PeerScheme))}, `
			tls::handshake role=client protocol_version=0x304 ciphersuite=0x1302 result=completed
			  tls::key_exchange group=0x1d
			`,
		},
		"a client that failed before the answer": {
			[]*Call{end(Failed, client13().with(numbers{layout.HandState: 12}).without(layout.CipherSuite))}, `
			tls::handshake role=client result=failed
			`,
		},
		"a client that refused the certificate": {
			[]*Call{end(Failed, client13().with(numbers{layout.HandState: 4}))}, `
			tls::handshake role=client protocol_version=0x304 ciphersuite=0x1302 result=failed
			  tls::key_exchange group=0x1d
			`,
		},
		"a connection that was freed before anything was sent": {
			[]*Call{end(Abandoned, numbers{layout.Version: 0x10000, layout.Server: 1, layout.HandState: 0})}, "",
		},
		"an abandoned server": {
			[]*Call{end(Abandoned, numbers{layout.Version: 0x304, layout.Server: 1, layout.CipherSuite: 0x1301, layout.Group: 0x1d, layout.KeyExchanged: 1, layout.HandState: 36})}, `
			tls::handshake role=server protocol_version=0x304 ciphersuite=0x1301 result=abandoned
			  tls::key_exchange group=0x1d
			`,
		},
		"an operation outside of handshakes": {
			[]*Call{with(key(layout.Sign, "RSA", numbers{layout.KeyBits: 3072}), func(c *Call) { c.SetDigest = 64 })}, `
			pk::sign algorithm=RSA bits=0xc00 hash=SHA1
			`,
		},
		"an unknown hash is skipped": {
			[]*Call{with(key(layout.Sign, "RSA", numbers{layout.KeyBits: 3072}), func(c *Call) { c.Input = 20 })}, `
			pk::sign algorithm=RSA bits=0xc00
			`,
		},
		"a key without a provider": {
			[]*Call{key(layout.Sign, "", numbers{layout.KeyID: 6, layout.LegacyModulusWords: 32})}, `
			pk::sign algorithm=RSA bits=0x800
			`,
		},
		"a key of the low-level functions": {
			[]*Call{key(layout.Verify, "", numbers{layout.Curve: 715})}, `
			pk::verify algorithm=EC/ECDSA curve=SECP384R1
			`,
		},
		"operations of an exchange after the handshake": {
			[]*Call{inside(sign(), 0), {Kind: Over, Connection: 5, BuildID: sslID}}, `
			pk::sign algorithm=EC/ECDSA curve=SECP256R1 bits=0x100 hash=SHA256
			`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, source, got, quarantined := tracked(t, c.calls...)
			want := strings.TrimPrefix(strings.ReplaceAll(c.want, "\n\t\t\t", "\n"), "\n")
			if got != want {
				t.Errorf("the operations are\n%swant\n%s", got, want)
			}
			if len(quarantined) > 0 || source.Standing(sslID).Refused > 0 {
				t.Errorf("the library is in quarantine or has refused values: %q", quarantined)
			}
		})
	}
}

func TestAnImpossibleValueQuarantinesTheLibrary(t *testing.T) {
	for name, n := range map[string]numbers{
		"an impossible version":          client13().with(numbers{layout.Version: 0x7f1e}),
		"no version":                     client13().without(layout.Version),
		"an impossible role":             client13().with(numbers{layout.Server: 2}),
		"an unregistered suite":          client13().with(numbers{layout.CipherSuite: 0x13ff}),
		"a suite with bits above it":     client13().with(numbers{layout.CipherSuite: 0x04001302}),
		"a suite of another version":     client13().with(numbers{layout.CipherSuite: 0xc02f}),
		"no suite":                       client13().with(numbers{layout.CipherSuite: 0}),
		"an impossible state":            client13().with(numbers{layout.HandState: 7}),
		"an unregistered group":          client13().with(numbers{layout.Group: 0x7777, layout.SessionGroup: 0x7777}),
		"a group that differs":           client13().with(numbers{layout.SessionGroup: 0x17}),
		"no group":                       client13().with(numbers{layout.Group: 0, layout.SessionGroup: 0}),
		"keys exchanged":                 client13().with(numbers{layout.KeyExchanged: 9}),
		"an unregistered scheme":         client13().with(numbers{layout.PeerScheme: 0x9999}),
		"resumed":                        client13().with(numbers{layout.Resumed: 77}),
		"a session's unregistered group": server12().with(numbers{layout.SessionGroup: 0x7777}),
	} {
		t.Run(name, func(t *testing.T) {
			_, source, got, quarantined := tracked(t, end(Completed, n), end(Completed, client13()))
			if got != "" {
				t.Errorf("recorded %s", got)
			}
			if len(quarantined) != 1 || source.Standing(sslID).Quarantine == nil {
				t.Errorf("quarantine: %q, %v", quarantined, source.Standing(sslID).Quarantine)
			}
		})
	}
}

// Unreadable memory of a program is not the fault of its library: it may be paged out.
func TestAHandshakeInUnreadableMemoryIsALoss(t *testing.T) {
	unreadable := func(kind Kind, n numbers) *Call {
		c := end(kind, n)
		c.Unreadable = true
		return c
	}
	const operation = "pk::sign algorithm=RSA\n"
	for name, c := range map[string]struct {
		call *Call
		want string
	}{
		"nothing":                        {unreadable(Abandoned, numbers{}), ""},
		"no session":                     {unreadable(Completed, client13().without(layout.CipherSuite, layout.SessionGroup)), ""},
		"no state":                       {unreadable(Abandoned, client13().without(layout.HandState)), ""},
		"no value of a failed handshake": {unreadable(Failed, numbers{}), ""},
		"no optional value":              {unreadable(Completed, client13().without(layout.VerifyResult)), "tls::handshake role=client"},
	} {
		t.Run(name, func(t *testing.T) {
			tracker, source, got, quarantined := tracked(t, inside(key(layout.Sign, "RSA", nil), 0), c.call)
			gaps := uint64(0)
			if c.want == "" {
				// The inner operation is recorded separately.
				c.want, gaps = operation, 1
			}
			if !strings.HasPrefix(got, c.want) || strings.Count(got, strings.TrimSpace(operation)) != 1 {
				t.Errorf("recorded\n%swant %s", got, c.want)
			}
			if tracker.Stats().Unreadable != gaps || len(quarantined) > 0 || source.Standing(sslID).Refused > 0 {
				t.Errorf("%d gaps, want %d; the library is in quarantine or has refused values: %q", tracker.Stats().Unreadable, gaps, quarantined)
			}
		})
	}
}

// A program can put arbitrary values into its own copy of a library. This must not end the
// recording of all other programs.
func TestALibraryConfirmedByASocketIsNotQuarantined(t *testing.T) {
	tracker, source, _, quarantined := tracked(t)
	source.Agree(sslID)
	tracker.Add(end(Completed, client13().with(numbers{layout.Version: 0x7f1e})))
	if err := source.Differ(sslID, "differs"); err != nil || len(quarantined) > 0 {
		t.Errorf("the library is in quarantine: %v, %q", err, quarantined)
	}
	if s := source.Standing(sslID); s.Agreed != 1 || s.Differed != 1 || s.Refused != 1 {
		t.Errorf("the standing is %+v", s)
	}
	if err := source.Differ(cryptoID, "differs"); err == nil {
		t.Error("an unconfirmed library is not in quarantine")
	}
}

func TestOperationsOfAnUnfinishedHandshakeAreRecordedSeparately(t *testing.T) {
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	returned := 0
	tracker := NewTracker(New(), registry, func(*Operation) { returned++ }, func(*QuarantineError) {})
	tracker.Add(inside(key(layout.Sign, "RSA", nil), 0))
	tracker.Expire(15 + openTime - 1)
	if returned != 0 || tracker.Stats().Open != 1 {
		t.Fatalf("%d operations before the timeout, %+v", returned, tracker.Stats())
	}
	tracker.Expire(15 + openTime)
	if returned != 1 || tracker.Stats().Open != 0 {
		t.Errorf("%d operations after the timeout, %+v", returned, tracker.Stats())
	}
}

// A process that begins handshakes without ending them uses bounded memory, and causes no
// loss of operations.
func TestWaitingOperationsAreBounded(t *testing.T) {
	registry, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	returned := 0
	tracker := NewTracker(New(), registry, func(*Operation) { returned++ }, func(*QuarantineError) {})
	for i := range maxOpen + 10 {
		c := key(layout.Sign, "RSA", nil)
		c.Connection = uint64(i + 1)
		tracker.Add(c)
	}
	if s := tracker.Stats(); s.Open != maxOpen || returned != 10 {
		t.Errorf("%d handshakes wait, %d operations were returned", s.Open, returned)
	}
	for range maxParts + 5 {
		c := key(layout.Sign, "RSA", nil)
		c.Connection = maxOpen + 1
		tracker.Add(c)
	}
	if s := tracker.Stats(); s.Surplus != 6 || returned != 16 {
		t.Errorf("%d surplus operations, %d returned", s.Surplus, returned)
	}
}

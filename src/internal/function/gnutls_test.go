// SPDX-License-Identifier: Apache-2.0

package function

import (
	"testing"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/schema"
)

// session13 is a complete TLS 1.3 handshake of a client of GnuTLS, with an ECDSA
// certificate of the server and X25519.
func session13() numbers {
	return numbers{
		layout.Version: 5, layout.Server: 2, layout.CipherSuite: 0x0213, layout.Group: 6, layout.ServerScheme: 37, layout.ClientScheme: 0,
		layout.Completed: 1,
	}
}

func TestEnumerationsOfGnuTLSBecomeRegisteredValues(t *testing.T) {
	builtin, err := schema.Builtin()
	if err != nil {
		t.Fatal(err)
	}
	r := newRegistered(builtin)
	for name, c := range map[string]struct {
		kind Kind
		n    numbers
		want values
	}{
		"client":        {Completed, session13(), values{version: 0x304, suite: 0x1302, group: 29, peer: 0x403, signed: true}},
		"server":        {Completed, session13().with(numbers{layout.Server: 1, layout.ClientScheme: 40}), values{server: true, version: 0x304, suite: 0x1302, group: 29, own: 0x403, peer: 0x804, signed: true}},
		"X448":          {Completed, session13().with(numbers{layout.Group: 20}), values{version: 0x304, suite: 0x1302, group: 30, peer: 0x403, signed: true}},
		"FFDHE8192":     {Completed, session13().with(numbers{layout.Group: 259}), values{version: 0x304, suite: 0x1302, group: 260, peer: 0x403, signed: true}},
		"FFDHE6144":     {Completed, session13().with(numbers{layout.Group: 260}), values{version: 0x304, suite: 0x1302, group: 259, peer: 0x403, signed: true}},
		"a later group": {Completed, session13().with(numbers{layout.Group: 512}), values{version: 0x304, suite: 0x1302, peer: 0x403, signed: true}},
		"RSA-PSS":       {Completed, session13().with(numbers{layout.ServerScheme: 34}), values{version: 0x304, suite: 0x1302, group: 29, peer: 0x80b, signed: true}},
		"no group yet":  {Completed, session13().without(layout.Group, layout.ServerScheme), values{version: 0x304, suite: 0x1302, signed: true}},
		// Groups and schemes may be left from an earlier handshake.
		"TLS 1.2":  {Completed, session13().with(numbers{layout.Version: 4, layout.CipherSuite: 0x2cc0}), values{version: 0x303, suite: 0xc02c}},
		"DTLS 1.2": {Completed, session13().with(numbers{layout.Version: 202, layout.CipherSuite: 0x2cc0}), values{version: 0xfefd, suite: 0xc02c}},
		"failed":   {Failed, session13(), values{}},
	} {
		t.Run(name, func(t *testing.T) {
			v, problem := r.read(end(c.kind, c.n))
			if problem != "" || v != c.want {
				t.Errorf("the values are %+v, %q, want %+v", v, problem, c.want)
			}
		})
	}
	for name, n := range map[string]numbers{
		"role":                   session13().with(numbers{layout.Server: 0}),
		"version":                session13().with(numbers{layout.Version: 0x304}),
		"no version":             session13().without(layout.Version),
		"suite":                  session13().with(numbers{layout.CipherSuite: 0xfefe}),
		"suite of TLS 1.2 in 13": session13().with(numbers{layout.CipherSuite: 0x2cc0}),
		"group":                  session13().with(numbers{layout.Group: 0x7f001234}),
		"scheme of the server":   session13().with(numbers{layout.ServerScheme: 0x7f001234}),
		"scheme of the client":   session13().with(numbers{layout.ClientScheme: 0x7f001234}),
		"suite of TLS 1.3 in 12": session13().with(numbers{layout.Version: 4}),
	} {
		t.Run("impossible "+name, func(t *testing.T) {
			if v, problem := r.read(end(Completed, n)); problem == "" {
				t.Errorf("the values are %+v", v)
			}
		})
	}
}

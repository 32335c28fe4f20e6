// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/loads"
	"crypto-auditing/src/internal/layout/symbolic"
)

// gnutls decodes libgnutls.
func (d *decoder) gnutls() {
	run := func(name string) []symbolic.Path { return d.paths(name, symbolic.Options{}) }
	resumed := run("gnutls_session_is_resumed")
	// The functions compare the role with GNUTLS_CLIENT (2) or both roles.
	role := func(n uint64) bool { return n == 1 || n == 2 }
	d.found("role", "gnutls_session_is_resumed", loads.Where(loads.Compared(resumed, role), 1, 4))
	d.found("role", "gnutls_auth_get_type", loads.Where(loads.Compared(run("gnutls_auth_get_type"), role), 1, 4))

	group := loads.Where(loads.Returned(run("gnutls_group_get")), 2, 4)
	d.found("group", "gnutls_group_get", loads.Owners(group))
	d.found("group.id", "gnutls_group_get", loads.Tails(group, 1))
	version := loads.Where(loads.Returned(run("gnutls_protocol_get_version")), 2, 4)
	d.found("version", "gnutls_protocol_get_version", loads.Owners(version))
	d.found("version.id", "gnutls_protocol_get_version", loads.Tails(version, 1))
	zero := func(n uint64) bool { return n == 0 }
	d.found("version", "gnutls_session_is_resumed", loads.Where(loads.Compared(resumed, zero), 1, 8))

	// gnutls_kx_get reads the cipher suite first.
	var first []loads.Chain
	for _, p := range run("gnutls_kx_get") {
		if len(p.Conditions) == 0 {
			continue
		}
		if v, _, ok := p.Conditions[0].Zero(); ok {
			if c, ok := loads.Of(v, 0); ok {
				first = append(first, c)
			}
		}
	}
	d.found("suite", "gnutls_kx_get", loads.Where(loads.Unique(first), 1, 8))
	d.found("suite", "gnutls_ciphersuite_get", loads.Owners(loads.Where(loads.Returned(run("gnutls_ciphersuite_get")), 2, 8)))
	d.found("suite.name", "gnutls_cipher_suite_info", []loads.Chain{loads.Member(0, 8)})
	d.found("suite.id", "gnutls_cipher_suite_info", d.suiteID())

	d.found("server scheme", "gnutls_sign_algorithm_get", loads.Where(loads.Returned(run("gnutls_sign_algorithm_get")), 1, 4))
	d.found("client scheme", "gnutls_sign_algorithm_get_client", loads.Where(loads.Returned(run("gnutls_sign_algorithm_get_client")), 1, 4))
	if s, ok := d.get("server scheme"); ok {
		d.confirm("client scheme", "it follows the server's", []loads.Chain{loads.Member(s.Last()+4, 4)})
	}
	if c, ok := d.get("client scheme"); ok {
		d.confirm("server scheme", "the client's follows it", []loads.Chain{loads.Member(c.Last()-4, 4)})
	}
	d.found("resumed", "gnutls_session_is_resumed", loads.Where(loads.Returned(resumed), 1, 1))

	// gnutls_handshake first checks whether a handshake was completed before.
	var before []loads.Chain
	for _, p := range run("gnutls_handshake") {
		if len(p.Conditions) > 0 {
			if v, _, ok := p.Conditions[0].Zero(); ok {
				if c, ok := loads.Of(v, 0); ok {
					before = append(before, c)
				}
			}
		}
	}
	d.found("completed", "gnutls_handshake", loads.Where(loads.Unique(before), 1, 1, 4))
	binding := d.paths("gnutls_session_channel_binding", symbolic.Options{Fixed: map[int]int64{1: 0}})
	d.found("completed", "gnutls_session_channel_binding", loads.Where(loads.Compared(binding, zero), 1, 1, 4))

	for _, v := range []value{
		{id: layout.Version, fields: []string{"version", "version.id"}, width: 4, checked: true},
		{id: layout.Server, fields: []string{"role"}, width: 4},
		{id: layout.CipherSuite, fields: []string{"suite", "suite.id"}, width: 2, checked: true},
		{id: layout.Group, fields: []string{"group", "group.id"}, width: 4, checked: true},
		{id: layout.ServerScheme, fields: []string{"server scheme"}, width: 4, checked: true},
		{id: layout.ClientScheme, fields: []string{"client scheme"}, width: 4, checked: true},
		{id: layout.Resumed, fields: []string{"resumed"}, width: 1},
		{id: layout.Completed, fields: []string{"completed"}},
	} {
		v.base = layout.Connection
		d.add(v)
	}
	object := []param{{layout.Object, 0}}
	d.addFunction(function{name: "gnutls_handshake", role: layout.Handshake, params: object})
	if entry, ok := d.image.Function("gnutls_handshake"); ok {
		if err := d.returnSites("gnutls_handshake", entry); err != nil {
			d.refuse("the end of the handshake", err.Error())
		}
	}
	d.addFunction(function{name: "gnutls_deinit", role: layout.ConnectionFree, params: object})
	d.lib.Handshakes = d.complete("the handshake layer", []layout.Role{layout.Handshake, layout.HandshakeEnd, layout.ConnectionFree},
		[]layout.ValueID{layout.Version, layout.Server, layout.CipherSuite, layout.Completed})
	d.sessionKeys()
}

// suiteID returns the location of the number in the description of a cipher suite.
// gnutls_cipher_suite_info copies the parts of the description, which begins with the
// name.
func (d *decoder) suiteID() []loads.Chain {
	var out []loads.Chain
	for _, p := range d.paths("gnutls_cipher_suite_info", symbolic.Options{}) {
		name, _ := p.Result.Base()
		at, width, ok := name.Load()
		if !ok || width != 8 || p.Err != "" {
			continue
		}
		entry, start := at.Base()
		for _, s := range p.Stores {
			index, offset, ok := s.Addr.Argument()
			from, width, isLoad := s.Value.Uncut().Load()
			if !ok || !isLoad || index != 1 || offset != 0 || s.Width != 2 || width != 2 {
				continue
			}
			if base, place := from.Base(); base == entry {
				out = append(out, loads.Member(place-start, 2))
			}
		}
	}
	return loads.Unique(out)
}

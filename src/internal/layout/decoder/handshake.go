// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/loads"
	"crypto-auditing/src/internal/layout/symbolic"
)

// connection assumes that the first argument is a TLS connection over a stream: not NULL,
// and since OpenSSL 3.2, where the object begins with a type word, not a QUIC connection.
func connection(c symbolic.Condition) (holds, known bool) {
	v, zero, ok := c.Zero()
	if !ok {
		return false, false
	}
	if index, offset, ok := v.Argument(); ok && index == 0 && offset == 0 {
		return !zero, true
	}
	if addr, width, ok := v.Load(); ok && width == 4 {
		if index, offset, ok := addr.Argument(); ok && index == 0 && offset == 0 {
			return zero, true
		}
	}
	return false, false
}

// onConnection executes an accessor of a connection.
func (d *decoder) onConnection(name string) []symbolic.Path {
	return d.paths(name, symbolic.Options{Assume: connection})
}

// Commands of SSL_ctrl, from ssl.h.
const (
	ctrlPeerSignature   = 108
	ctrlPeerTemporary   = 109
	ctrlSignature       = 132
	ctrlNegotiatedGroup = 134
)

// handshakes decodes the layer of libssl.
func (d *decoder) handshakes() {
	d.stateFields()
	d.sessionFields()
	ctrl := d.controlFunction()
	d.groupFields(ctrl)
	d.signatureFields(ctrl)
	d.randomField()
	for _, v := range []value{
		{id: layout.Version, fields: []string{"version"}, width: 4, checked: true},
		{id: layout.Server, fields: []string{"server"}, width: 4},
		{id: layout.CipherSuite, fields: []string{"session", "session.cipher", "cipher.id"}, width: 2, checked: true},
		{id: layout.Group, fields: []string{"group"}, width: 2, checked: true},
		{id: layout.SessionGroup, fields: []string{"session", "session.group"}, width: 2},
		{id: layout.KeyExchanged, fields: []string{"exchanged"}, width: 1},
		{id: layout.PeerScheme, fields: []string{"peer scheme", "scheme.code"}, width: 2, checked: true},
		{id: layout.OwnScheme, fields: []string{"own scheme", "scheme.code"}, width: 2, checked: true},
		{id: layout.Resumed, fields: []string{"resumed"}, width: 4},
		{id: layout.HandState, fields: []string{"hand state"}, width: 4},
		{id: layout.FlowState, fields: []string{"flow state"}, width: 4},
		{id: layout.VerifyResult, fields: []string{"verify result"}, width: 4},
		{id: layout.ServerRandom, form: layout.Bytes, fields: []string{"server random"}, width: 8},
	} {
		v.base = layout.Connection
		d.add(v)
	}
	d.handshakeSites()
	d.lib.Handshakes = d.complete("the handshake layer",
		[]layout.Role{layout.HandshakeServer, layout.HandshakeClient, layout.HandshakeEnd, layout.ConnectionFree},
		[]layout.ValueID{layout.Version, layout.CipherSuite, layout.HandState, layout.FlowState})
}

// complete reports whether the mandatory parts of a layer were found, and refuses the
// layer if not.
func (d *decoder) complete(layer string, roles []layout.Role, values []layout.ValueID) bool {
	missing := ""
	for _, r := range roles {
		if !slices.ContainsFunc(d.lib.Sites, func(s layout.Site) bool { return s.Role == r }) {
			missing = "a site of the role " + r.String()
		}
	}
	for _, id := range values {
		if d.lib.Value(id) == nil {
			missing = "the value " + id.String()
		}
	}
	if missing != "" {
		d.refuse(layer, "it needs "+missing)
	}
	return missing == ""
}

func (d *decoder) stateFields() {
	d.found("version", "SSL_version", loads.Where(loads.Returned(d.onConnection("SSL_version")), 0, 4))
	d.found("version", "SSL_get_version", loads.Where(loads.Compared(d.onConnection("SSL_get_version"), func(n uint64) bool {
		return n >= 0x300 && n <= 0x304 || n == 0xfeff || n == 0xfefd
	}), 0, 4))
	d.found("server", "SSL_is_server", loads.Where(loads.Returned(d.onConnection("SSL_is_server")), 0, 4))
	// One of the two functions that set the role writes 1, the other 0.
	zeros := loads.Written(d.onConnection("SSL_set_connect_state"), 4, loads.IsNumber(0))
	ones := slices.DeleteFunc(loads.Written(d.onConnection("SSL_set_accept_state"), 4, loads.IsNumber(1)),
		func(c loads.Chain) bool { return !slices.ContainsFunc(zeros, c.Same) })
	if len(ones) == 1 {
		d.found("server", "SSL_set_accept_state", ones)
	}
	// SSL_clear resets whether the last session was resumed.
	cleared := d.cleared()
	d.found("resumed", "SSL_session_reused", loads.Where(loads.Returned(d.onConnection("SSL_session_reused")), 0, 4))
	d.confirm("resumed", "SSL_clear writes zero", cleared)

	d.found("hand state", "SSL_get_state", loads.Where(loads.Returned(d.onConnection("SSL_get_state")), 0, 4))
	// SSL_in_before compares both states with zero.
	before := slices.DeleteFunc(loads.Where(loads.Compared(d.onConnection("SSL_in_before"), func(n uint64) bool { return n == 0 }), 0, 4),
		func(c loads.Chain) bool { return len(c.Offsets) == 1 && c.Offsets[0] == 0 })
	if hand, ok := d.get("hand state"); ok && len(before) == 2 {
		for _, c := range before {
			if c.Same(hand) {
				d.found("hand state", "SSL_in_before", []loads.Chain{c})
			} else {
				d.found("flow state", "SSL_in_before", []loads.Chain{c})
			}
		}
		flow := loads.Chain{Offsets: slices.Clone(hand.Offsets), Width: 4}
		flow.Offsets[len(flow.Offsets)-1] -= 0x14
		d.confirm("flow state", "it is five words before the hand state", []loads.Chain{flow})
	}

	d.found("verify result", "SSL_get_verify_result", loads.Where(loads.Returned(d.onConnection("SSL_get_verify_result")), 0, 8))
	d.found("verify result", "SSL_set_verify_result", loads.Written(d.onConnection("SSL_set_verify_result"), 8, func(v symbolic.Value) bool {
		index, offset, ok := v.Argument()
		return ok && index == 1 && offset == 0
	}))
}

// cleared returns the words of a connection that SSL_clear sets to zero. Since OpenSSL
// 3.2 it calls a function of the connection's method.
func (d *decoder) cleared() []loads.Chain {
	paths := d.paths("SSL_clear", symbolic.Options{Assume: connection})
	out := loads.Written(paths, 4, loads.IsNumber(0))
	for _, slot := range methodSlots(paths) {
		if f, ok := d.methodFunction("TLS_method", slot); ok {
			out = append(out, loads.Written(d.interpreter.Execute(f, symbolic.Options{Assume: connection}), 4, loads.IsNumber(0))...)
		}
	}
	return out
}

// methodSlots returns the offsets of the function pointers that the paths call in the
// SSL_METHOD to which a pointer in the first argument points.
func methodSlots(paths []symbolic.Path) []int64 {
	var out []int64
	for i := range paths {
		for _, c := range paths[i].Calls {
			if s, ok := loads.Of(c.Pointer, 0); ok && len(s.Offsets) == 2 {
				out = append(out, s.Last())
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (d *decoder) sessionFields() {
	d.found("session", "SSL_get_session", loads.Where(loads.Returned(d.onConnection("SSL_get_session")), 0, 8))
	current := loads.Longest(loads.Where(loads.Returned(d.onConnection("SSL_get_current_cipher")), 0, 8))
	d.found("session", "SSL_get_current_cipher", loads.Owners(current))
	if s, ok := d.get("session"); ok {
		d.found("session.cipher", "SSL_get_current_cipher", loads.Tails(current, len(s.Offsets)))
	}
	d.found("session.cipher", "SSL_SESSION_get0_cipher", loads.Where(loads.Returned(d.paths("SSL_SESSION_get0_cipher", symbolic.Options{})), 1, 8))
	d.found("cipher.id", "SSL_CIPHER_get_protocol_id", loads.Where(loads.Returned(d.paths("SSL_CIPHER_get_protocol_id", symbolic.Options{})), 1, 2, 4))
	d.found("cipher.id", "SSL_CIPHER_get_id", loads.Where(loads.Returned(d.paths("SSL_CIPHER_get_id", symbolic.Options{})), 1, 4))
}

// table returns the address of the SSL_METHOD that a function returns.
func (d *decoder) table(name string) (uint64, bool) {
	for _, p := range d.paths(name, symbolic.Options{}) {
		if n, ok := p.Result.Constant(); ok && p.Err == "" && n != 0 {
			return n, true
		}
	}
	return 0, false
}

// methodFunction returns the function in a slot of the SSL_METHOD that the function name
// returns.
func (d *decoder) methodFunction(name string, slot int64) (uint64, bool) {
	table, ok := d.table(name)
	if !ok {
		return 0, false
	}
	return d.codePointer(table + uint64(slot))
}

// codePointer returns the constant pointer to code at addr.
func (d *decoder) codePointer(addr uint64) (uint64, bool) {
	f, ok := d.image.Constant(addr, 8)
	return f, ok && d.image.Code(f) != nil
}

// controlFunction returns the function that SSL_ctrl calls for a TLS connection, zero if
// it is ambiguous.
func (d *decoder) controlFunction() uint64 {
	fixed := map[int]int64{1: ctrlNegotiatedGroup}
	var slots []int64
	for depth := range 2 {
		slots = append(slots, methodSlots(d.paths("SSL_ctrl", symbolic.Options{Depth: depth, Fixed: fixed, Assume: connection}))...)
	}
	slices.Sort(slots)
	if slots = slices.Compact(slots); len(slots) != 1 {
		return 0
	}
	f, _ := d.methodFunction("TLS_method", slots[0])
	return f
}

// control executes the function that implements SSL_ctrl with a command.
func (d *decoder) control(ctrl uint64, command int64) []symbolic.Path {
	if ctrl == 0 {
		return nil
	}
	return d.interpreter.Execute(ctrl, symbolic.Options{Fixed: map[int]int64{1: command}, Assume: connection})
}

// groupFields decodes the negotiated group: the connection's, which is valid in TLS 1.3
// with a key exchange, else the session's. Functions look up its name in a function of the
// library or inline.
func (d *decoder) groupFields(ctrl uint64) {
	session, _ := d.get("session")
	from := func(source string, paths []symbolic.Path) {
		var group, exchanged, ofSession []loads.Chain
		add := func(v symbolic.Value) {
			c, ok := loads.Of(v, 0)
			switch {
			case !ok || c.Width != 2 && c.Width != 4:
			case len(session.Offsets) > 0 && len(c.Offsets) == len(session.Offsets)+1 && slices.Equal(c.Offsets[:len(session.Offsets)], session.Offsets):
				ofSession = append(ofSession, c)
			case c.Width == 2:
				group = append(group, c)
			}
		}
		for i := range paths {
			for _, c := range paths[i].Conditions {
				if v, zero, ok := c.Zero(); ok {
					if s, ok := loads.Of(v, 0); ok && s.Width == 1 && !zero {
						exchanged = append(exchanged, s)
					}
					continue
				}
				if c.Relation == symbolic.Equal || c.Relation == symbolic.NotEqual {
					add(c.X)
					add(c.Y)
				}
			}
			for _, c := range paths[i].Calls {
				// Of the named functions, only those that look up groups are followed.
				if c.Target != 0 && c.Name != "" {
					continue
				}
				add(c.Arguments[0])
				add(c.Arguments[1])
			}
		}
		group = loads.Unique(group)
		d.found("group", source, group)
		d.found("session.group", source, loads.Tails(loads.Unique(ofSession), len(session.Offsets)))
		if len(group) == 1 {
			// Other bytes are also compared.
			near := loads.Chain{Offsets: slices.Clone(group[0].Offsets), Width: 1}
			near.Offsets[len(near.Offsets)-1]--
			if slices.ContainsFunc(exchanged, near.Same) {
				d.found("exchanged", source, []loads.Chain{near})
				d.confirm("exchanged", "it is the byte before the group", []loads.Chain{near})
			}
		}
	}
	from("SSL_get0_group_name", d.onConnection("SSL_get0_group_name"))
	from(fmt.Sprintf("SSL_ctrl(%d)", ctrlNegotiatedGroup), d.control(ctrl, ctrlNegotiatedGroup))

	if c, ok := d.get("session.cipher"); ok {
		d.confirm("session.group", "it is two words after the session's cipher", []loads.Chain{loads.Member(c.Last()+0x10, 2)})
	}
	for _, c := range loads.Where(loads.StoredTo(d.control(ctrl, ctrlPeerTemporary), 3), 0, 8) {
		c.Offsets = slices.Clone(c.Offsets)
		c.Offsets[len(c.Offsets)-1] -= 2
		d.confirm("group", "it is right before the peer's key share", []loads.Chain{c})
	}
}

// signatureFields decodes the pointers to the entries of the signature schemes, and the
// location of the code point in an entry.
func (d *decoder) signatureFields(ctrl uint64) {
	nids := loads.StoredTo(d.onConnection("SSL_get_peer_signature_type_nid"), 1)
	d.found("peer scheme", "SSL_get_peer_signature_type_nid", loads.Owners(nids))
	d.found("peer scheme", "SSL_ctrl(108)", loads.Owners(loads.StoredTo(d.control(ctrl, ctrlPeerSignature), 3)))
	d.found("peer scheme", "SSL_get0_peer_signature_name", loads.Owners(loads.StoredTo(d.onConnection("SSL_get0_peer_signature_name"), 1)))
	d.found("own scheme", "SSL_get_signature_type_nid", loads.Owners(loads.StoredTo(d.onConnection("SSL_get_signature_type_nid"), 1)))
	d.found("own scheme", "SSL_ctrl(132)", loads.Owners(loads.StoredTo(d.control(ctrl, ctrlSignature), 3)))
	d.found("own scheme", "SSL_get0_signature_name", loads.Owners(loads.StoredTo(d.onConnection("SSL_get0_signature_name"), 1)))

	// SSL_get_shared_sigalgs stores the low byte of the code point.
	var code []loads.Chain
	for _, c := range loads.StoredTo(d.paths("SSL_get_shared_sigalgs", symbolic.Options{Fixed: map[int]int64{1: 0, 2: 0, 3: 0, 4: 0}, Assume: connection}), 5) {
		if c.Width == 1 {
			code = append(code, loads.Member(c.Last(), 2))
		}
	}
	d.found("scheme.code", "SSL_get_shared_sigalgs", loads.Unique(code))
	for _, c := range nids {
		d.confirm("scheme.code", "it is three words before the type's NID", []loads.Chain{loads.Member(c.Last()-0xc, 2)})
	}
}

// randomField decodes the location of the server's random, which its accessor copies.
func (d *decoder) randomField() {
	copied := func(name string) []loads.Chain {
		var out []loads.Chain
		paths := d.paths(name, symbolic.Options{Fixed: map[int]int64{2: 8}, Assume: connection})
		for i := range paths {
			for _, c := range paths[i].Calls {
				if s, ok := loads.Address(c.Arguments[1], 0); ok && c.Name == "memcpy" {
					out = append(out, s)
				}
			}
		}
		return loads.Unique(append(out, loads.StoredTo(paths, 1)...))
	}
	d.found("server random", "SSL_get_server_random", copied("SSL_get_server_random"))
	for _, c := range copied("SSL_get_client_random") {
		c.Offsets = slices.Clone(c.Offsets)
		c.Offsets[len(c.Offsets)-1] -= 32
		d.confirm("server random", "the client's random follows it", []loads.Chain{c})
	}
}

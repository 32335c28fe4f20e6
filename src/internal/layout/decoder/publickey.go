// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"strings"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/loads"
	"crypto-auditing/src/internal/layout/symbolic"
)

// notNull assumes that the first argument is not NULL.
func notNull(c symbolic.Condition) (holds, known bool) {
	v, zero, ok := c.Zero()
	if !ok {
		return false, false
	}
	index, offset, ok := v.Argument()
	return !zero, ok && index == 0 && offset == 0
}

// onObject executes an accessor of an object. depth is the depth of calls to follow.
func (d *decoder) onObject(name string, depth int) []symbolic.Path {
	return d.paths(name, symbolic.Options{Depth: depth, Assume: notNull})
}

// getter records the result of the first of the functions that is in the file: a field of
// a given width. OpenSSL 3 renamed some of them.
func (d *decoder) getter(field string, width int, names ...string) {
	for _, name := range names {
		d.found(field, name, loads.Where(loads.Returned(d.onObject(name, 0)), 1, width))
	}
}

// publicKeys decodes the layer of libcrypto.
func (d *decoder) publicKeys() {
	d.keyFields()
	d.contextFields()
	d.legacyFields()
	for _, v := range []value{
		{id: layout.KeyType, base: layout.PKey, form: layout.String, fields: []string{"key.manager", "manager.name"}, width: 8, checked: true},
		{id: layout.KeyID, base: layout.PKey, fields: []string{"key.id"}, width: 4},
		{id: layout.KeyBits, base: layout.PKey, fields: []string{"key.bits"}, width: 4},
		{id: layout.KeyCurve, base: layout.PKey, fields: []string{"key.data", "eckey.group", "group.nid"}, width: 4, checked: true},
		{id: layout.LegacyCurve, base: layout.PKey, fields: []string{"key.legacy", "eckey.group", "group.nid"}, width: 4, checked: true},
		{id: layout.LegacyModulusWords, base: layout.PKey, fields: []string{"key.legacy", "rsa.n", "number.top"}, width: 4, checked: true},
		{id: layout.ContextKey, base: layout.KeyContext, form: layout.Pointer, fields: []string{"context.key"}, width: 8, checked: true},
		{id: layout.ContextKeyType, base: layout.KeyContext, form: layout.String, fields: []string{"context.manager", "manager.name"}, width: 8, checked: true},
		{id: layout.ContextOperationCode, base: layout.KeyContext, fields: []string{"context.operation"}, width: 4},
		{id: layout.DigestContextKey, base: layout.DigestContext, form: layout.Pointer, fields: []string{"digestcontext.context", "context.key"}, width: 8, checked: true},
		{id: layout.DigestContextName, base: layout.DigestContext, form: layout.String, fields: []string{"digestcontext.digest", "digest.name"}, width: 8, checked: true},
		{id: layout.DigestContextNID, base: layout.DigestContext, fields: []string{"digestcontext.digest", "digest.nid"}, width: 4, checked: true},
		{id: layout.DigestName, base: layout.DigestType, form: layout.String, fields: []string{"digest.name"}, width: 8, checked: true},
		{id: layout.DigestTypeNID, base: layout.DigestType, fields: []string{"digest.nid"}, width: 4, checked: true},
		{id: layout.Curve, base: layout.ECKey, fields: []string{"eckey.group", "group.nid"}, width: 4, checked: true},
		{id: layout.ModulusWords, base: layout.RSAKey, fields: []string{"rsa.n", "number.top"}, width: 4, checked: true},
	} {
		d.add(v)
	}
	d.publicKeySites()
	d.lib.PublicKey = d.complete("the public-key layer",
		[]layout.Role{layout.ContextOperation, layout.DigestOperation},
		[]layout.ValueID{layout.ContextKey, layout.DigestContextKey, layout.DigestContextNID}) && d.hasKeyType()
}

// hasKeyType reports whether the type of a key can be determined.
func (d *decoder) hasKeyType() bool {
	if d.lib.Value(layout.KeyType) == nil && d.lib.Value(layout.KeyID) == nil {
		d.refuse("the public-key layer", "it needs the value key_type or key_id")
		return false
	}
	return true
}

// keyFields decodes EVP_PKEY, which OpenSSL 3 also uses for provider keys.
func (d *decoder) keyFields() {
	// The name comes from the key's manager on the path on which the manager exists.
	// Otherwise later pointers lead to the name.
	var names []loads.Chain
	paths := d.onObject("EVP_PKEY_get0_type_name", 1)
	for i := range paths {
		c, ok := loads.Of(paths[i].Result, 0)
		if ok && len(c.Offsets) == 2 && c.Width == 8 && paths[i].Err == "" && decidedBy(&paths[i], loads.Chain{Offsets: c.Offsets[:1], Width: 8}) {
			names = append(names, c)
		}
	}
	names = loads.Unique(names)
	d.found("key.manager", "EVP_PKEY_get0_type_name", loads.Owners(names))
	d.found("manager.name", "EVP_PKEY_get0_type_name", loads.Tails(names, 1))
	d.getter("manager.name", 8, "EVP_KEYMGMT_get0_name")
	var managers []loads.Chain
	paths = d.onObject("EVP_PKEY_get0_provider", 0)
	for i := range paths {
		if c, ok := loads.Of(paths[i].Result, 0); ok && len(c.Offsets) == 2 {
			managers = append(managers, loads.Chain{Offsets: c.Offsets[:1], Width: 8})
		}
	}
	managers = append(managers, passed(paths, "EVP_KEYMGMT_get0_provider", 0)...)
	d.found("key.manager", "EVP_PKEY_get0_provider", loads.Unique(managers))

	d.getter("key.bits", 4, "EVP_PKEY_get_bits")
	for _, c := range loads.Where(loads.Returned(d.onObject("EVP_PKEY_get_security_bits", 0)), 1, 4) {
		d.confirm("key.bits", "the security bits follow it", []loads.Chain{loads.Member(c.Last()-4, 4)})
	}
	d.getter("key.id", 4, "EVP_PKEY_get_id", "EVP_PKEY_id")
	for _, name := range []string{"EVP_PKEY_get_base_id", "EVP_PKEY_base_id"} {
		d.found("key.id", name, loads.Where(passed(d.onObject(name, 0), "EVP_PKEY_type", 0), 1, 4))
	}
	d.getter("key.legacy", 8, "EVP_PKEY_get0")
	// The key's data is passed to the manager's functions together with the manager.
	if manager, ok := d.get("key.manager"); ok {
		for _, name := range []string{"EVP_PKEY_get_params", "EVP_PKEY_export"} {
			d.found("key.data", name, passedWith(d.onObject(name, 0), manager))
		}
		d.confirm("key.data", "it follows the manager", []loads.Chain{loads.Member(manager.Last()+8, 8)})
	}
}

// decidedBy reports whether the first pointer of the first argument that the path checks
// is the pointer c, and is not NULL.
func decidedBy(p *symbolic.Path, c loads.Chain) bool {
	for _, condition := range p.Conditions {
		v, zero, ok := condition.Zero()
		if s, isLoad := loads.Of(v, 0); ok && isLoad && s.Width == 8 {
			return !zero && s.Same(c)
		}
	}
	return false
}

// passed returns the values that the paths pass to a function as an argument.
func passed(paths []symbolic.Path, name string, argument int) []loads.Chain {
	var out []loads.Chain
	for i := range paths {
		for _, c := range paths[i].Calls {
			if s, ok := loads.Of(c.Arguments[argument], 0); ok && c.Name == name {
				out = append(out, s)
			}
		}
	}
	return loads.Unique(out)
}

// passedWith returns the pointers that the paths pass to a function after the pointer
// owner, or as the first argument to a function pointer of owner.
func passedWith(paths []symbolic.Path, owner loads.Chain) []loads.Chain {
	var out []loads.Chain
	for i := range paths {
		for _, c := range paths[i].Calls {
			first, ok := loads.Of(c.Arguments[0], 0)
			if !ok {
				continue
			}
			if second, ok := loads.Of(c.Arguments[1], 0); ok && first.Same(owner) && c.Name == "" {
				out = append(out, second)
			}
			if p, ok := loads.Of(c.Pointer, 0); ok && len(p.Offsets) == 2 && owner.Same(loads.Chain{Offsets: p.Offsets[:1], Width: 8}) {
				out = append(out, first)
			}
		}
	}
	return loads.Where(loads.Unique(out), 1, 8)
}

// contextFields decodes EVP_PKEY_CTX, EVP_MD_CTX and EVP_MD.
func (d *decoder) contextFields() {
	d.getter("context.key", 8, "EVP_PKEY_CTX_get0_pkey")
	d.getter("context.operation", 4, "EVP_PKEY_CTX_get_operation")
	const keyGeneration = 4
	prepared := loads.Written(d.onObject("EVP_PKEY_keygen_init", 1), 4, loads.IsNumber(keyGeneration))
	d.found("context.operation", "EVP_PKEY_keygen_init", prepared)
	d.found("context.manager", "EVP_PKEY_CTX_is_a", passed(d.onObject("EVP_PKEY_CTX_is_a", 0), "EVP_KEYMGMT_is_a", 0))
	d.getter("digestcontext.context", 8, "EVP_MD_CTX_get_pkey_ctx", "EVP_MD_CTX_pkey_ctx")
	d.getter("digestcontext.digest", 8, "EVP_MD_CTX_get0_md", "EVP_MD_CTX_md")
	d.getter("digest.nid", 4, "EVP_MD_get_type", "EVP_MD_type")
	// Without a name, the function looks the name up by calls.
	var named []symbolic.Path
	for _, p := range d.onObject("EVP_MD_get0_name", 0) {
		if len(p.Calls) == 0 {
			named = append(named, p)
		}
	}
	d.found("digest.name", "EVP_MD_get0_name", loads.Where(loads.Returned(named), 1, 8))
}

// legacyFields decodes the keys of the low-level interfaces.
func (d *decoder) legacyFields() {
	d.getter("eckey.group", 8, "EC_KEY_get0_group")
	d.getter("group.nid", 4, "EC_GROUP_get_curve_name")
	d.getter("rsa.n", 8, "RSA_get0_n")
	d.found("rsa.n", "RSA_get0_key", loads.Where(loads.StoredTo(d.onObject("RSA_get0_key", 0), 1), 1, 8))
	for n, name := range []string{"BN_is_zero", "BN_is_one"} {
		d.found("number.top", name, loads.Where(loads.Compared(d.onObject(name, 1), func(m uint64) bool { return m == uint64(n) }), 1, 4))
	}
}

// generatesByOther reports whether EVP_PKEY_keygen ends in EVP_PKEY_generate, which has a
// site of its own, so that a site in EVP_PKEY_keygen is not needed.
func (d *decoder) generatesByOther() bool {
	_, other := d.image.Function("EVP_PKEY_generate")
	entry, ok := d.image.Function("EVP_PKEY_keygen")
	return ok && other && len(d.callsOf(entry, "EVP_PKEY_generate")) > 0
}

// publicKeySites adds the sites of operations.
func (d *decoder) publicKeySites() {
	missing := map[layout.Role][]string{}
	for _, f := range functions() {
		if f.role == layout.KeyOperation {
			f.external = true
			if d.lib.Static {
				missing[f.role] = append(missing[f.role], f.name)
				continue
			}
		}
		if f.name == "EVP_PKEY_keygen" && d.generatesByOther() {
			continue
		}
		if entry, ok := d.image.Function(f.name); ok {
			if names := d.image.Aliases(entry); len(names) > 1 {
				d.refuse(f.name, "it has the same code as "+strings.Join(names, ", "))
				continue
			}
		}
		d.addFunction(f)
	}
	if names := missing[layout.KeyOperation]; len(names) > 0 {
		d.refuse(strings.Join(names, ", "), "calls from outside the library cannot be distinguished: both layers are in one file")
	}
}

// functions returns the functions of libcrypto that become sites.
func functions() []function {
	object := func(more ...param) []param { return append([]param{{layout.Object, 0}}, more...) }
	output := param{layout.Output, 1}
	return []function{
		{name: "EVP_DigestSign", role: layout.DigestOneShot, operation: layout.Sign, params: object(output)},
		{name: "EVP_DigestVerify", role: layout.DigestOneShot, operation: layout.Verify, params: object()},
		{name: "EVP_DigestSignFinal", role: layout.DigestOperation, operation: layout.Sign, params: object(output)},
		{name: "EVP_DigestVerifyFinal", role: layout.DigestOperation, operation: layout.Verify, params: object()},
		{name: "EVP_PKEY_sign", role: layout.ContextOperation, operation: layout.Sign, params: object(output, param{layout.InputLength, 4})},
		{name: "EVP_PKEY_sign_message_final", role: layout.ContextOperation, operation: layout.Sign, params: object(output)},
		{name: "EVP_PKEY_verify", role: layout.ContextOperation, operation: layout.Verify, params: object(param{layout.InputLength, 4})},
		{name: "EVP_PKEY_verify_message_final", role: layout.ContextOperation, operation: layout.Verify, params: object()},
		{name: "EVP_PKEY_verify_recover", role: layout.ContextOperation, operation: layout.Verify, params: object(output)},
		{name: "EVP_PKEY_derive", role: layout.ContextOperation, operation: layout.Derive, params: object(output)},
		{name: "EVP_PKEY_encapsulate", role: layout.ContextOperation, operation: layout.Encapsulate, params: object(output)},
		{name: "EVP_PKEY_decapsulate", role: layout.ContextOperation, operation: layout.Decapsulate, params: object(output)},
		{name: "EVP_PKEY_encrypt", role: layout.ContextOperation, operation: layout.Encrypt, params: object(output)},
		{name: "EVP_PKEY_decrypt", role: layout.ContextOperation, operation: layout.Decrypt, params: object(output)},
		{name: "EVP_PKEY_generate", role: layout.ContextOperation, operation: layout.Generate, params: object()},
		{name: "EVP_PKEY_keygen", role: layout.ContextOperation, operation: layout.Generate, params: object()},
		{name: "X509_verify_cert", role: layout.ChainVerification, params: object()},

		{name: "EVP_PKEY_CTX_set_signature_md", role: layout.SetDigest, params: object(param{layout.Digest, 1})},
		{name: "EVP_PKEY_CTX_ctrl", role: layout.SetDigest, params: object(param{layout.Command, 3}, param{layout.Digest, 5})},
		{name: "EVP_PKEY_sign_init", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_sign_init_ex", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_sign_init_ex2", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_verify_init", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_verify_init_ex", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_verify_init_ex2", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_verify_recover_init", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_verify_recover_init_ex", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_encrypt_init", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_encrypt_init_ex", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_decrypt_init", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_decrypt_init_ex", role: layout.ResetContext, params: object()},
		{name: "EVP_PKEY_CTX_set_group_name", role: layout.SetGroup, params: object(param{layout.Text, 1})},
		{name: "EVP_PKEY_CTX_set_ec_paramgen_curve_nid", role: layout.SetCurve, params: object(param{layout.NID, 1})},
		{name: "EVP_PKEY_CTX_set_rsa_keygen_bits", role: layout.SetBits, params: object(param{layout.Bits, 1})},

		{name: "RSA_sign", role: layout.KeyOperation, operation: layout.Sign, params: []param{{layout.DigestNID, 0}, {layout.InputLength, 2}, {layout.KeyRSA, 5}}},
		{name: "RSA_verify", role: layout.KeyOperation, operation: layout.Verify, params: []param{{layout.DigestNID, 0}, {layout.InputLength, 2}, {layout.KeyRSA, 5}}},
		{name: "RSA_private_encrypt", role: layout.KeyOperation, operation: layout.Sign, params: []param{{layout.InputLength, 0}, {layout.KeyRSA, 3}}},
		{name: "RSA_public_decrypt", role: layout.KeyOperation, operation: layout.Verify, params: []param{{layout.KeyRSA, 3}}},
		{name: "RSA_private_decrypt", role: layout.KeyOperation, operation: layout.Decrypt, params: []param{{layout.KeyRSA, 3}}},
		{name: "RSA_public_encrypt", role: layout.KeyOperation, operation: layout.Encrypt, params: []param{{layout.KeyRSA, 3}}},
		{name: "RSA_generate_key_ex", role: layout.KeyOperation, operation: layout.Generate, params: []param{{layout.KeyRSA, 0}, {layout.Bits, 1}}},
		{name: "ECDSA_sign", role: layout.KeyOperation, operation: layout.Sign, params: []param{{layout.InputLength, 2}, {layout.KeyEC, 5}}},
		{name: "ECDSA_verify", role: layout.KeyOperation, operation: layout.Verify, params: []param{{layout.InputLength, 2}, {layout.KeyEC, 5}}},
		{name: "ECDSA_do_sign", role: layout.KeyOperation, operation: layout.Sign, params: []param{{layout.InputLength, 1}, {layout.KeyEC, 2}}},
		{name: "ECDSA_do_sign_ex", role: layout.KeyOperation, operation: layout.Sign, params: []param{{layout.InputLength, 1}, {layout.KeyEC, 4}}},
		{name: "ECDSA_do_verify", role: layout.KeyOperation, operation: layout.Verify, params: []param{{layout.InputLength, 1}, {layout.KeyEC, 3}}},
		{name: "ECDH_compute_key", role: layout.KeyOperation, operation: layout.Derive, params: []param{{layout.KeyEC, 3}}},
		{name: "EC_KEY_generate_key", role: layout.KeyOperation, operation: layout.Generate, params: []param{{layout.KeyEC, 0}}},
		{name: "DSA_sign", role: layout.KeyOperation, operation: layout.Sign, params: []param{{layout.InputLength, 2}, {layout.KeyDSA, 5}}},
		{name: "DSA_verify", role: layout.KeyOperation, operation: layout.Verify, params: []param{{layout.InputLength, 2}, {layout.KeyDSA, 5}}},
		{name: "DSA_do_sign", role: layout.KeyOperation, operation: layout.Sign, params: []param{{layout.InputLength, 1}, {layout.KeyDSA, 2}}},
		{name: "DSA_do_verify", role: layout.KeyOperation, operation: layout.Verify, params: []param{{layout.InputLength, 1}, {layout.KeyDSA, 3}}},
		{name: "DSA_generate_key", role: layout.KeyOperation, operation: layout.Generate, params: []param{{layout.KeyDSA, 0}}},
		{name: "DH_compute_key", role: layout.KeyOperation, operation: layout.Derive, params: []param{{layout.KeyDH, 2}}},
		{name: "DH_generate_key", role: layout.KeyOperation, operation: layout.Generate, params: []param{{layout.KeyDH, 0}}},
	}
}

// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"errors"
	"fmt"
	"slices"

	"crypto-auditing/src/internal/layout"
	"crypto-auditing/src/internal/layout/loads"
	"crypto-auditing/src/internal/layout/symbolic"
)

// chainVerifications are the functions of GnuTLS that verify a chain of certificates, some of
// which call others.
func chainVerifications() []string {
	return []string{
		"gnutls_certificate_verify_peers", "gnutls_x509_trust_list_verify_crt2", "gnutls_x509_trust_list_verify_named_crt",
		"gnutls_x509_crt_list_verify",
	}
}

// Numbers of gnutls/gnutls.h and gnutls/x509.h.
const (
	keyRSA    = 1      // GNUTLS_PK_RSA
	keyDSA    = 2      // GNUTLS_PK_DSA
	keyEC     = 4      // GNUTLS_PK_ECDSA
	keyRSAPSS = 6      // GNUTLS_PK_RSA_PSS
	curveP256 = 2      // GNUTLS_ECC_CURVE_SECP256R1
	verifyRaw = 0x2000 // GNUTLS_VERIFY_USE_TLS1_RSA
)

// keySteps bounds the instructions of one execution of these long functions. A third of that
// suffices for all known builds.
const keySteps = 1500

// The slots of the table of operations (gnutls_crypto_pk_st).
const (
	slotEncrypt = iota
	slotDecrypt
	slotDecrypt2
	slotSign
	slotVerify
	slotVerifyPrivate
	slotVerifyPublic
	slotGenerate
	slotGenerateParameters
	slotImport
	slotDerive
	slots
)

// keyTable is the table of operations.
type keyTable struct {
	functions [slots]uint64
	// encapsulate and decapsulate follow in later versions; zero without them.
	encapsulate, decapsulate uint64
	// parameters is the offset of the parameters in a public key.
	parameters int64
}

// sessionKeys decodes the public-key layer of GnuTLS.
//
// Every operation with a key goes through a table of functions exactly once, with the number of
// the algorithm as the first argument: operations of sessions, of certificates, and of programs
// that call the API. An operation that GnuTLS rejects earlier does not reach the table.
func (d *decoder) sessionKeys() {
	table, err := d.keyTable()
	if err != nil {
		d.refuse("the public-key layer", err.Error())
		return
	}
	d.parameterFields(table)
	verify := d.signatureEntry(table)
	for _, v := range []value{
		{id: layout.ParametersCurve, base: layout.KeyParameters, fields: []string{"parameters.curve"}},
		// The size in a number of GMP (gmp.h) is at 4.
		{id: layout.ParametersModulusWords, base: layout.KeyParameters, fields: []string{"parameters.modulus"}, extra: []int64{4}},
		{id: layout.PSSDigest, base: layout.SignatureParameters, fields: []string{"signing.pss"}},
		{id: layout.DSADigest, base: layout.SignatureParameters, fields: []string{"signing.dsa"}},
		{id: layout.SignatureNumber, base: layout.SignatureEntry, fields: []string{"signature.number"}},
	} {
		v.width, v.checked = 4, true
		d.add(v)
	}
	d.keySites(table)
	d.signatureSites(verify)
	for _, name := range chainVerifications() {
		d.addFunction(function{name: name, role: layout.ChainVerification, params: []param{{layout.Object, 0}}})
	}
	d.lib.PublicKey = d.complete("the public-key layer", []layout.Role{layout.SessionOperation}, []layout.ValueID{layout.ParametersCurve, layout.ParametersModulusWords})
}

// keyTable finds the table, which has no symbol: three exported functions must call, or jump
// to, the functions in their slots of one table.
func (d *decoder) keyTable() (*keyTable, error) {
	t := &keyTable{}
	first := d.target("gnutls_pubkey_encrypt_data", nil, func(c *symbolic.Call) bool {
		index, offset, ok := c.Arguments[3].Argument()
		if !ok || index != 0 || offset <= 0 || !isArgument(c.Arguments[1], 3, 0) || !isArgument(c.Arguments[2], 2, 0) {
			return false
		}
		t.parameters = offset
		return true
	})
	verify := d.target("gnutls_pubkey_verify_hash2", map[int]int64{2: verifyRaw}, func(c *symbolic.Call) bool {
		return isNumber(c.Arguments[0], keyRSA) && isArgument(c.Arguments[1], 3, 0) && isArgument(c.Arguments[2], 4, 0) &&
			isArgument(c.Arguments[3], 0, t.parameters)
	})
	decrypt := d.target("gnutls_privkey_decrypt_data", nil, func(c *symbolic.Call) bool {
		return isArgument(c.Arguments[1], 3, 0) && isArgument(c.Arguments[2], 2, 0) && d.image.SlotsWith(c.Target) != nil
	})
	if first == 0 || verify == 0 || decrypt == 0 {
		return nil, errors.New("gnutls_pubkey_encrypt_data, gnutls_pubkey_verify_hash2 and gnutls_privkey_decrypt_data do not lead to the table of its operations")
	}
	var bases []uint64
	for _, base := range d.image.SlotsWith(first) {
		if d.tableSlot(base, slotVerify) == verify && d.tableSlot(base, slotDecrypt) == decrypt {
			bases = append(bases, base)
		}
	}
	if len(bases) != 1 {
		return nil, errors.New("the table of its operations is not found")
	}
	for slot := range t.functions {
		t.functions[slot] = d.tableSlot(bases[0], slot)
	}
	// The function that reports whether a curve is supported follows the operations. Its slot
	// determines which operations the table has.
	exists := d.target("gnutls_ecc_curve_list", nil, func(c *symbolic.Call) bool { return d.slotOf(bases[0], c.Target) > slotVerify })
	switch last := d.slotOf(bases[0], exists); {
	case slices.Contains(t.functions[:], 0):
		return nil, errors.New("the table of its operations is not complete")
	case last == slots:
	case last == slots+2:
		t.encapsulate, t.decapsulate = d.tableSlot(bases[0], slots), d.tableSlot(bases[0], slots+1)
	default:
		return nil, fmt.Errorf("the table of its operations has another form: gnutls_ecc_curve_list leads to its slot %d", last)
	}
	return t, nil
}

// slotOf returns the slot of a function in the table at base, -1 if it is not there.
func (d *decoder) slotOf(base, function uint64) int {
	for slot := range slots + 4 {
		if function != 0 && d.tableSlot(base, slot) == function {
			return slot
		}
	}
	return -1
}

// tableSlot returns the function in a slot of a table, zero if there is none.
func (d *decoder) tableSlot(base uint64, slot int) uint64 {
	f, _, ok := d.image.Slot(base + 8*uint64(slot))
	if !ok || d.image.Code(f) == nil {
		return 0
	}
	return f
}

// target returns the one function of this file to which the named function passes accepted
// arguments, zero without one. If it does not call that function itself, the functions that it
// calls are followed.
func (d *decoder) target(name string, fixed map[int]int64, accept func(*symbolic.Call) bool) uint64 {
	for depth := range 3 {
		found := uint64(0)
		paths := d.paths(name, symbolic.Options{Fixed: fixed, Depth: depth, Assume: notNull, Steps: keySteps})
		for i := range paths {
			for j := range paths[i].Calls {
				c := paths[i].Calls[j]
				c.Target = d.callee(&paths[i], &c)
				if c.Target == 0 || !accept(&c) {
					continue
				}
				if found != 0 && found != c.Target {
					return 0
				}
				found = c.Target
			}
		}
		if found != 0 {
			return found
		}
	}
	return 0
}

// callee returns the function that a call of a path leads to, zero if it is not known. Since
// GnuTLS 3.8.9 the call is by a pointer in a table that another function returns.
func (d *decoder) callee(p *symbolic.Path, c *symbolic.Call) uint64 {
	addr, _, ok := c.Pointer.Load()
	if c.Target != 0 || !ok {
		return c.Target
	}
	table, offset := addr.Base()
	getter, ok := table.Result()
	if !ok || getter < 0 || getter >= len(p.Calls) || p.Calls[getter].Target == 0 {
		return 0
	}
	results := d.interpreter.Execute(p.Calls[getter].Target, symbolic.Options{})
	if len(results) != 1 || results[0].Err != "" {
		return 0
	}
	base, ok := results[0].Result.Constant()
	if !ok || offset < 0 {
		return 0
	}
	f, _, ok := d.image.Slot(base + uint64(offset))
	if !ok || d.image.Code(f) == nil {
		return 0
	}
	return f
}

func isArgument(v symbolic.Value, index int, offset int64) bool {
	i, o, ok := v.Argument()
	return ok && i == index && o == offset
}

func isNumber(v symbolic.Value, n uint64) bool {
	c, ok := v.Constant()
	return ok && c == n
}

// onAlgorithm executes a function of the table with an algorithm.
func (d *decoder) onAlgorithm(t *keyTable, slot int, algorithm int64) []symbolic.Path {
	return d.interpreter.Execute(t.functions[slot], symbolic.Options{Fixed: map[int]int64{0: algorithm}, Steps: keySteps})
}

// parameterFields decodes the parameters of keys and of signatures.
func (d *decoder) parameterFields(t *keyTable) {
	// in returns chains into the public key as chains into its parameters.
	in := func(all []loads.Chain) (out []loads.Chain) {
		for _, c := range all {
			if offset := c.Offsets[0] - t.parameters; offset >= 0 {
				out = append(out, loads.Chain{Offsets: append([]int64{offset}, c.Offsets[1:]...), Width: c.Width})
			}
		}
		return out
	}
	keyAccessor := symbolic.Options{Depth: 2, Assume: notNull, Steps: keySteps}
	const ecc = "gnutls_pubkey_export_ecc_raw2"
	d.found("parameters.curve", ecc, in(loads.Where(loads.StoredTo(d.paths(ecc, keyAccessor), 1), 1, 4)))
	d.confirm("parameters.curve", "the derivation with a curve reads it", loads.Read(d.onAlgorithm(t, slotDerive, keyEC), 2, 4))

	// The function copies the modulus, to the second argument, and then the exponent.
	exported := d.paths("gnutls_pubkey_export_rsa_raw2", keyAccessor)
	modulus := in(loads.Where(passedTo(exported, 1), 1, 8))
	d.found("parameters.modulus", "gnutls_pubkey_export_rsa_raw2", modulus)
	for _, c := range in(loads.Where(passedTo(exported, 2), 1, 8)) {
		d.confirm("parameters.modulus", "the exponent follows it", []loads.Chain{loads.Member(c.Last()-8, 8)})
	}

	d.found("signing.pss", "gnutls_x509_spki_get_rsa_pss_params", loads.Where(loads.StoredTo(d.onObject("gnutls_x509_spki_get_rsa_pss_params", 0), 1), 1, 4))
	d.confirm("signing.pss", "the verification with RSA-PSS reads it", loads.Read(d.onAlgorithm(t, slotVerify, keyRSAPSS), 4, 4))
	// A deterministic signature derives its random numbers with the digest, which it passes on.
	// It passes no other number of the parameters.
	d.found("signing.dsa", "the creation with DSA", passedNumbers(d.onAlgorithm(t, slotSign, keyDSA), 4))
	d.found("signing.dsa", "the creation with ECDSA", passedNumbers(d.onCurve(t, slotSign), 4))
}

// onCurve executes a function of the table with a key of P-256.
func (d *decoder) onCurve(t *keyTable, slot int) []symbolic.Path {
	curve, ok := d.get("parameters.curve")
	if !ok {
		return nil
	}
	return d.interpreter.Execute(t.functions[slot], symbolic.Options{
		Fixed: map[int]int64{0: keyEC}, Steps: keySteps,
		Memory: func(addr symbolic.Value, width int) (int64, bool) {
			return curveP256, width == 4 && isArgument(addr, 3, curve.Last())
		},
	})
}

// passedTo returns the pointers from the first argument that the paths pass to a function
// before the given argument.
func passedTo(paths []symbolic.Path, argument int) []loads.Chain {
	var out []loads.Chain
	for i := range paths {
		for _, c := range paths[i].Calls {
			if s, ok := loads.Of(c.Arguments[0], 0); ok && isArgument(c.Arguments[1], argument, 0) {
				out = append(out, s)
			}
		}
	}
	return loads.Unique(out)
}

// passedNumbers returns the chains of loads from an argument to the 32-bit numbers that the
// paths pass to functions.
func passedNumbers(paths []symbolic.Path, argument int) []loads.Chain {
	var out []loads.Chain
	for i := range paths {
		for _, c := range paths[i].Calls {
			for _, v := range c.Arguments {
				if s, ok := loads.Of(v, argument); ok && s.Width == 4 && len(s.Offsets) == 1 {
					out = append(out, s)
				}
			}
		}
	}
	return loads.Unique(out)
}

// signatureEntry decodes the description of a signature algorithm, and returns the function
// that verifies a signature with a description as the first argument, zero if it is not
// found. Programs and the verification of certificates both call it.
func (d *decoder) signatureEntry(t *keyTable) (verify uint64) {
	const name = "gnutls_pubkey_verify_data2"
	var lookup uint64
	paths := d.paths(name, symbolic.Options{Fixed: map[int]int64{2: 0}, Assume: notNull, Steps: keySteps})
	for i := range paths {
		for _, c := range paths[i].Calls {
			switch {
			case c.Target == 0:
			case isArgument(c.Arguments[2], 3, 0) && isArgument(c.Arguments[3], 4, 0) && isArgument(c.Arguments[4], 0, t.parameters):
				verify = c.Target
			case lookup == 0 && isArgument(c.Arguments[0].Uncut(), 1, 0):
				lookup = c.Target
			}
		}
	}
	if lookup == 0 || verify == 0 {
		d.refuse("the digest of verified ECDSA and DSA signatures", name+" does not call one function that looks up the algorithm and one that verifies")
		return 0
	}
	// The function returns the first description with the number.
	var numbers []loads.Chain
	paths = d.interpreter.Execute(lookup, symbolic.Options{})
	for i := range paths {
		p := &paths[i]
		entry, ok := p.Result.Constant()
		if !ok || entry == 0 || p.Err != "" || len(p.Conditions) == 0 {
			continue
		}
		last := p.Conditions[len(p.Conditions)-1]
		for _, v := range []symbolic.Value{last.X, last.Y} {
			addr, width, ok := v.Load()
			if at, isConstant := addr.Constant(); ok && isConstant && width == 4 && at > entry && at-entry < layout.MaxOffset {
				numbers = append(numbers, loads.Member(int64(at-entry), 4))
			}
		}
	}
	d.found("signature.number", name, loads.Unique(numbers))
	return verify
}

// keySites adds the functions of the table.
func (d *decoder) keySites(t *keyTable) {
	key := func(index uint8, more ...param) []param {
		return append([]param{{layout.Algorithm, 0}, {layout.Object, index}}, more...)
	}
	for _, f := range []struct {
		name      string
		entry     uint64
		operation layout.Operation
		params    []param
	}{
		{"_gnutls_pk_encrypt", t.functions[slotEncrypt], layout.Encrypt, key(3)},
		{"_gnutls_pk_decrypt", t.functions[slotDecrypt], layout.Decrypt, key(3)},
		{"_gnutls_pk_decrypt2", t.functions[slotDecrypt2], layout.Decrypt, key(4)},
		{"_gnutls_pk_sign", t.functions[slotSign], layout.Sign, key(3, param{layout.Data, 2}, param{layout.Signing, 4}, param{layout.Signature, 1})},
		{"_gnutls_pk_verify", t.functions[slotVerify], layout.Verify, key(3, param{layout.Data, 1}, param{layout.Signing, 4}, param{layout.Signature, 2})},
		{"_gnutls_pk_generate_keys", t.functions[slotGenerate], layout.Generate, []param{{layout.Algorithm, 0}, {layout.Bits, 1}}},
		{"_gnutls_pk_derive", t.functions[slotDerive], layout.Derive, key(2)},
		{"_gnutls_pk_encaps", t.encapsulate, layout.Encapsulate, []param{{layout.Algorithm, 0}}},
		{"_gnutls_pk_decaps", t.decapsulate, layout.Decapsulate, []param{{layout.Algorithm, 0}}},
	} {
		if f.entry != 0 {
			d.addSite(function{name: f.name, role: layout.SessionOperation, operation: f.operation, params: f.params}, f.entry)
		}
	}
}

// signatureSites adds the functions that have the algorithm of the signature that they verify.
func (d *decoder) signatureSites(verify uint64) {
	d.addFunction(function{name: "gnutls_pubkey_verify_hash2", role: layout.SetSignature, operation: layout.Verify, params: []param{{layout.Algorithm, 1}, {layout.Signature, 4}}})
	if verify != 0 && d.lib.Value(layout.SignatureNumber) != nil {
		d.addSite(function{name: "pubkey_verify_data", role: layout.SetSignature, operation: layout.Verify, params: []param{{layout.Object, 0}, {layout.Signature, 3}}}, verify)
	}
}

// SPDX-License-Identifier: Apache-2.0

package layout

// String returns the name of the value, such as "cipher_suite", as in the output of
// crauctl probes and of the status.
func (id ValueID) String() string {
	names := [...]string{
		Version:              "version",
		Server:               "server",
		CipherSuite:          "cipher_suite",
		Group:                "group",
		SessionGroup:         "session_group",
		KeyExchanged:         "key_exchanged",
		PeerScheme:           "peer_scheme",
		OwnScheme:            "own_scheme",
		ServerScheme:         "server_scheme",
		ClientScheme:         "client_scheme",
		Resumed:              "resumed",
		HandState:            "hand_state",
		FlowState:            "flow_state",
		VerifyResult:         "verify_result",
		ServerRandom:         "server_random",
		Completed:            "completed",
		KeyType:              "key_type",
		KeyID:                "key_id",
		KeyBits:              "key_bits",
		KeyCurve:             "key_curve",
		LegacyCurve:          "legacy_curve",
		LegacyModulusWords:   "legacy_modulus_words",
		ContextKey:           "context_key",
		ContextKeyType:       "context_key_type",
		ContextOperationCode: "context_operation_code",
		DigestContextKey:     "digest_context_key",
		DigestContextName:    "digest_context_name",
		DigestContextNID:     "digest_context_nid",
		DigestName:           "digest_name",
		DigestTypeNID:        "digest_type_nid",
		Curve:                "curve",
		ModulusWords:         "modulus_words",

		ParametersCurve:        "parameters_curve",
		ParametersModulusWords: "parameters_modulus_words",
		PSSDigest:              "pss_digest",
		DSADigest:              "dsa_digest",
		SignatureNumber:        "signature",
	}
	if int(id) < len(names) {
		return names[id]
	}
	return ""
}

// String describes the role for messages.
func (r Role) String() string {
	names := [...]string{
		HandshakeServer:   "handshake server",
		HandshakeClient:   "handshake client",
		Handshake:         "handshake",
		HandshakeEnd:      "handshake end",
		ConnectionFree:    "connection free",
		ContextOperation:  "context operation",
		DigestOperation:   "digest operation",
		DigestOneShot:     "digest one shot",
		ChainVerification: "chain verification",
		KeyOperation:      "key operation",
		SetDigest:         "set digest",
		ResetContext:      "reset context",
		SetGroup:          "set group",
		SetCurve:          "set curve",
		SetBits:           "set bits",
		SessionOperation:  "session operation",
		SetSignature:      "set signature",
	}
	if int(r) < len(names) {
		return names[r]
	}
	return ""
}

// String returns the name of the operation, such as "sign", empty for
// NoOperation.
func (o Operation) String() string {
	names := [...]string{
		Sign:        "sign",
		Verify:      "verify",
		Derive:      "derive",
		Encapsulate: "encapsulate",
		Decapsulate: "decapsulate",
		Encrypt:     "encrypt",
		Decrypt:     "decrypt",
		Generate:    "generate",
	}
	if int(o) < len(names) {
		return names[o]
	}
	return ""
}

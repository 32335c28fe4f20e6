// SPDX-License-Identifier: Apache-2.0

package decoder

import (
	"strings"

	"crypto-auditing/src/internal/layout/known"
)

// accessors are the functions that are executed or identified by name, in addition to
// those that become sites.
const accessors = `
SSL_new SSL_free SSL_clear SSL_ctrl SSL_version SSL_get_version SSL_is_server
SSL_set_accept_state SSL_set_connect_state SSL_session_reused SSL_get_state
SSL_in_before SSL_get_verify_result SSL_set_verify_result SSL_get_session
SSL_get_current_cipher SSL_SESSION_get0_cipher SSL_CIPHER_get_protocol_id
SSL_CIPHER_get_id SSL_get0_group_name SSL_get_peer_signature_type_nid
SSL_get0_peer_signature_name SSL_get_signature_type_nid SSL_get0_signature_name
SSL_get_shared_sigalgs SSL_get_server_random SSL_get_client_random
TLS_method TLS_server_method TLS_client_method BUF_MEM_free

EVP_PKEY_new EVP_PKEY_get0_type_name EVP_KEYMGMT_get0_name EVP_KEYMGMT_is_a
EVP_PKEY_get0_provider EVP_KEYMGMT_get0_provider EVP_PKEY_get_bits
EVP_PKEY_get_security_bits EVP_PKEY_get_id EVP_PKEY_id EVP_PKEY_get_base_id
EVP_PKEY_base_id EVP_PKEY_type EVP_PKEY_get0 EVP_PKEY_get_params EVP_PKEY_export
EVP_PKEY_CTX_get0_pkey EVP_PKEY_CTX_get_operation EVP_PKEY_CTX_is_a
EVP_PKEY_keygen_init EVP_MD_CTX_get_pkey_ctx EVP_MD_CTX_pkey_ctx
EVP_MD_CTX_get0_md EVP_MD_CTX_md EVP_MD_get_type EVP_MD_type EVP_MD_get0_name
EC_KEY_get0_group EC_GROUP_get_curve_name RSA_get0_n RSA_get0_key BN_is_zero
BN_is_one

gnutls_handshake gnutls_deinit gnutls_session_is_resumed gnutls_auth_get_type
gnutls_group_get gnutls_protocol_get_version gnutls_kx_get gnutls_ciphersuite_get
gnutls_cipher_suite_info gnutls_session_channel_binding gnutls_sign_algorithm_get
gnutls_sign_algorithm_get_client

gnutls_pubkey_encrypt_data gnutls_privkey_decrypt_data gnutls_privkey_decrypt_data2
gnutls_pubkey_verify_hash2 gnutls_pubkey_verify_data2 gnutls_privkey_verify_params
gnutls_ecc_curve_list gnutls_pubkey_export_ecc_raw2 gnutls_pubkey_export_ecc_raw
gnutls_x509_spki_get_rsa_pss_params gnutls_pubkey_export_rsa_raw2
gnutls_sign_get_name
`

// wanted returns the names of the functions to look up.
func wanted() map[string]bool {
	out := map[string]bool{}
	for name := range strings.FieldsSeq(accessors) {
		out[name] = true
	}
	for _, f := range functions() {
		out[f.name] = true
	}
	for _, name := range chainVerifications() {
		out[name] = true
	}
	for _, name := range known.Functions() {
		out[name] = true
	}
	return out
}

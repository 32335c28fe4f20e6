// SPDX-License-Identifier: Apache-2.0

package layout

func wanted() map[string]bool {
	out := map[string]bool{}
	for _, n := range []string{"SSL_new", "EVP_PKEY_new", "gnutls_handshake", "SSL_version", "SSL_get_version", "SSL_is_server", "SSL_set_accept_state", "SSL_set_connect_state", "SSL_session_reused", "SSL_clear", "SSL_get_state", "SSL_in_before", "SSL_get_verify_result", "SSL_set_verify_result", "SSL_get_session", "SSL_get_current_cipher", "SSL_SESSION_get0_cipher", "SSL_CIPHER_get_protocol_id", "SSL_CIPHER_get_id", "SSL_ctrl", "TLS_method", "TLS_server_method", "TLS_client_method", "SSL_get0_group_name", "SSL_get_peer_signature_type_nid", "SSL_get0_peer_signature_name", "SSL_get_signature_type_nid", "SSL_get0_signature_name", "SSL_get_shared_sigalgs", "SSL_get_server_random", "SSL_get_client_random", "SSL_free", "BUF_MEM_free"} {
		out[n] = true
	}
	return out
}
func (d *decoder) publicKeys() {}
func (d *decoder) gnutls()     {}

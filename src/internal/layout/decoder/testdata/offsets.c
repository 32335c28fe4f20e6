/* SPDX-License-Identifier: Apache-2.0
 *
 * Prints the loads that lead to each value, from the structures of the OpenSSL
 * source in which it is compiled.
 */
#include <stddef.h>
#include <stdio.h>
#include "ssl/ssl_local.h"
#include "crypto/evp.h"
#include "crypto/bn/bn_local.h"
#include "crypto/ec/ec_local.h"
#include "crypto/evp/evp_local.h"
#include "crypto/rsa/rsa_local.h"

#define AT(type, member) (unsigned)offsetof(type, member)
#define ONE(name, a) printf("%s %u\n", name, a)
#define TWO(name, a, b) printf("%s %u %u\n", name, a, b)
#define THREE(name, a, b, c) printf("%s %u %u %u\n", name, a, b, c)

int main(void)
{
	ONE("version", AT(SSL, version));
	ONE("server", AT(SSL, server));
	THREE("cipher_suite", AT(SSL, session), AT(SSL_SESSION, cipher), AT(SSL_CIPHER, id));
	ONE("resumed", AT(SSL, hit));
	ONE("hand_state", AT(SSL, statem.hand_state));
	ONE("flow_state", AT(SSL, statem.state));
	ONE("verify_result", AT(SSL, verify_result));
	ONE("key_id", AT(EVP_PKEY, type));
	THREE("legacy_curve", AT(EVP_PKEY, pkey.ptr), AT(EC_KEY, group), AT(EC_GROUP, curve_name));
	THREE("legacy_modulus_words", AT(EVP_PKEY, pkey.ptr), AT(RSA, n), AT(BIGNUM, top));
	ONE("context_key", AT(EVP_PKEY_CTX, pkey));
	ONE("context_operation_code", AT(EVP_PKEY_CTX, operation));
	TWO("digest_context_key", AT(EVP_MD_CTX, pctx), AT(EVP_PKEY_CTX, pkey));
	ONE("digest_type_nid", AT(EVP_MD, type));
	TWO("curve", AT(EC_KEY, group), AT(EC_GROUP, curve_name));
	TWO("modulus_words", AT(RSA, n), AT(BIGNUM, top));
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
	ONE("group", AT(SSL, s3.group_id));
	ONE("key_exchanged", AT(SSL, s3.did_kex));
	TWO("session_group", AT(SSL, session), AT(SSL_SESSION, kex_group));
	TWO("peer_scheme", AT(SSL, s3.tmp.peer_sigalg), AT(SIGALG_LOOKUP, sigalg));
	TWO("own_scheme", AT(SSL, s3.tmp.sigalg), AT(SIGALG_LOOKUP, sigalg));
	ONE("server_random", AT(SSL, s3.server_random));
	TWO("key_type", AT(EVP_PKEY, keymgmt), AT(EVP_KEYMGMT, type_name));
	ONE("key_bits", AT(EVP_PKEY, cache.bits));
	THREE("key_curve", AT(EVP_PKEY, keydata), AT(EC_KEY, group), AT(EC_GROUP, curve_name));
	TWO("context_key_type", AT(EVP_PKEY_CTX, keymgmt), AT(EVP_KEYMGMT, type_name));
	TWO("digest_context_nid", AT(EVP_MD_CTX, reqdigest), AT(EVP_MD, type));
	TWO("digest_context_name", AT(EVP_MD_CTX, reqdigest), AT(EVP_MD, type_name));
	ONE("digest_name", AT(EVP_MD, type_name));
#else
	TWO("digest_context_nid", AT(EVP_MD_CTX, digest), AT(EVP_MD, type));
	THREE("peer_scheme", AT(SSL, s3), AT(SSL3_STATE, tmp.peer_sigalg), AT(SIGALG_LOOKUP, sigalg));
	THREE("own_scheme", AT(SSL, s3), AT(SSL3_STATE, tmp.sigalg), AT(SIGALG_LOOKUP, sigalg));
	TWO("server_random", AT(SSL, s3), AT(SSL3_STATE, server_random));
#endif
	return 0;
}

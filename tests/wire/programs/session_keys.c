/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes and uses keys with libgnutls, and prints each operation with the names that the
 * library uses: OPERATION ALGORITHM BITS CURVE DIGEST, with "-" for a missing value.
 */
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, gnutls_strerror(result));
	exit(1);
}

/* The key in use. */
static gnutls_privkey_t private;
static gnutls_pubkey_t public;

static const char *curve_of(void)
{
	gnutls_ecc_curve_t curve;

	if (gnutls_privkey_get_pk_algorithm(private, 0) != GNUTLS_PK_ECDSA)
		return "-";
	check(gnutls_privkey_export_ecc_raw(private, &curve, 0, 0, 0), "curve");
	return gnutls_ecc_curve_get_name(curve);
}

static void report(const char *operation, gnutls_pk_algorithm_t algorithm, gnutls_digest_algorithm_t digest)
{
	unsigned int bits = 0;

	gnutls_privkey_get_pk_algorithm(private, &bits);
	printf("%s\t%s\t%u\t%s\t%s\n", operation, gnutls_pk_get_name(algorithm), bits, curve_of(),
	       digest == GNUTLS_DIG_UNKNOWN ? "-" : gnutls_digest_get_name(digest));
}

static void generate(gnutls_pk_algorithm_t algorithm, unsigned int bits)
{
	check(gnutls_privkey_init(&private), "init");
	check(gnutls_pubkey_init(&public), "init");
	check(gnutls_privkey_generate(private, algorithm, bits, 0), "generate");
	check(gnutls_pubkey_import_privkey(public, private, 0, 0), "import");
	report("generate", algorithm, GNUTLS_DIG_UNKNOWN);
}

static void release(void)
{
	gnutls_privkey_deinit(private);
	gnutls_pubkey_deinit(public);
}

static const gnutls_datum_t text = { (unsigned char *)"to be signed", 12 };

/* Signs and verifies text, and its digest where the algorithm takes one. */
static void sign(gnutls_sign_algorithm_t algorithm)
{
	gnutls_pk_algorithm_t pk = gnutls_sign_get_pk_algorithm(algorithm);
	gnutls_digest_algorithm_t digest = gnutls_sign_get_hash_algorithm(algorithm);
	unsigned int flags = GNUTLS_VERIFY_ALLOW_BROKEN;
	unsigned char bytes[64];
	gnutls_datum_t signature, hash = { bytes, 0 };

	check(gnutls_privkey_sign_data2(private, algorithm, 0, &text, &signature), "sign");
	report("sign", pk, digest);
	check(gnutls_pubkey_verify_data2(public, algorithm, flags, &text, &signature), "verify");
	report("verify", pk, digest);
	signature.data[signature.size / 2] ^= 1;
	if (gnutls_pubkey_verify_data2(public, algorithm, flags, &text, &signature) >= 0)
		exit(2);
	report("verify", pk, digest);
	gnutls_free(signature.data);
	if (pk == GNUTLS_PK_EDDSA_ED25519 || pk == GNUTLS_PK_EDDSA_ED448)
		return; /* the digest is a part of the algorithm */
	hash.size = gnutls_hash_get_len(digest);
	check(gnutls_hash_fast(digest, text.data, text.size, bytes), "digest");
	check(gnutls_privkey_sign_hash2(private, algorithm, 0, &hash, &signature), "sign a digest");
	report("sign", pk, digest);
	check(gnutls_pubkey_verify_hash2(public, algorithm, flags, &hash, &signature), "verify a digest");
	report("verify", pk, digest);
	gnutls_free(signature.data);
}

static void encrypt(void)
{
	gnutls_datum_t encrypted, plain;
	unsigned char bytes[12];

	check(gnutls_pubkey_encrypt_data(public, 0, &text, &encrypted), "encrypt");
	report("encrypt", GNUTLS_PK_RSA, GNUTLS_DIG_UNKNOWN);
	check(gnutls_privkey_decrypt_data(private, 0, &encrypted, &plain), "decrypt");
	report("decrypt", GNUTLS_PK_RSA, GNUTLS_DIG_UNKNOWN);
	gnutls_free(plain.data);
	check(gnutls_privkey_decrypt_data2(private, 0, &encrypted, bytes, sizeof(bytes)), "decrypt");
	report("decrypt", GNUTLS_PK_RSA, GNUTLS_DIG_UNKNOWN);
	gnutls_free(encrypted.data);
}

/* Operations without a key, which are not reported. */
static void others(void)
{
	unsigned char bytes[64];
	gnutls_datum_t signature = { bytes, sizeof(bytes) };

	check(gnutls_hash_fast(GNUTLS_DIG_SHA1, text.data, text.size, bytes), "digest");
	check(gnutls_hmac_fast(GNUTLS_MAC_SHA256, "key", 3, text.data, text.size, bytes), "mac");
	check(gnutls_privkey_verify_params(private), "parameters");
	/* The library refuses this before it looks at the signature. */
	if (gnutls_pubkey_verify_data2(public, GNUTLS_SIGN_DSA_SHA256, 0, &text, &signature) >= 0)
		exit(2);
}

int main(void)
{
	static const gnutls_sign_algorithm_t rsa[] = {
		GNUTLS_SIGN_RSA_SHA1, GNUTLS_SIGN_RSA_SHA224, GNUTLS_SIGN_RSA_SHA256, GNUTLS_SIGN_RSA_SHA384, GNUTLS_SIGN_RSA_SHA512,
		GNUTLS_SIGN_RSA_SHA3_256, GNUTLS_SIGN_RSA_PSS_SHA256, GNUTLS_SIGN_RSA_PSS_SHA384, GNUTLS_SIGN_RSA_PSS_RSAE_SHA512,
	};
	static const gnutls_ecc_curve_t curves[] = { GNUTLS_ECC_CURVE_SECP256R1, GNUTLS_ECC_CURVE_SECP384R1, GNUTLS_ECC_CURVE_SECP521R1 };
	static const gnutls_sign_algorithm_t ecdsa[] = {
		GNUTLS_SIGN_ECDSA_SHA1, GNUTLS_SIGN_ECDSA_SHA256, GNUTLS_SIGN_ECDSA_SHA384, GNUTLS_SIGN_ECDSA_SHA512, GNUTLS_SIGN_ECDSA_SHA3_256,
	};
	unsigned int i, j;

	generate(GNUTLS_PK_RSA, 2048);
	for (i = 0; i < sizeof(rsa) / sizeof(rsa[0]); i++)
		sign(rsa[i]);
	encrypt();
	others();
	release();
	generate(GNUTLS_PK_RSA_PSS, 3072);
	sign(GNUTLS_SIGN_RSA_PSS_SHA256);
	release();
	for (i = 0; i < sizeof(curves) / sizeof(curves[0]); i++) {
		generate(GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(curves[i]));
		for (j = 0; j < sizeof(ecdsa) / sizeof(ecdsa[0]); j++)
			sign(ecdsa[j]);
		release();
	}
	generate(GNUTLS_PK_EDDSA_ED25519, 0);
	sign(GNUTLS_SIGN_EDDSA_ED25519);
	release();
	generate(GNUTLS_PK_EDDSA_ED448, 0);
	sign(GNUTLS_SIGN_EDDSA_ED448);
	release();
	generate(GNUTLS_PK_DSA, 1024);
	sign(GNUTLS_SIGN_DSA_SHA1);
	sign(GNUTLS_SIGN_DSA_SHA256);
	release();
	return 0;
}

// SPDX-License-Identifier: Apache-2.0

#include "certificates.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "publisher.h"

void openssl_die(const char *what)
{
	char reason[256] = "no reason given";
	unsigned long error = ERR_get_error();

	if (error != 0)
		ERR_error_string_n(error, reason, sizeof(reason));
	die("cannot %s: %s", what, reason);
}

static EVP_PKEY *generate_key(const char *kind)
{
	EVP_PKEY *key = NULL;

	if (strcmp(kind, "p256") == 0)
		key = EVP_EC_gen("P-256");
	else if (strcmp(kind, "p384") == 0)
		key = EVP_EC_gen("P-384");
	else if (strcmp(kind, "rsa") == 0)
		key = EVP_RSA_gen(2048);
	else if (strcmp(kind, "ed25519") == 0)
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		usage_error("--key %s: must be p256, p384, rsa or ed25519", kind);
	if (key == NULL)
		openssl_die("generate a key");
	return key;
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	if (extension == NULL || !X509_add_ext(certificate, extension, -1))
		openssl_die("extend a certificate");
	X509_EXTENSION_free(extension);
}

static X509 *issue(const char *name, EVP_PKEY *key, const char *issuer,
		   EVP_PKEY *issuer_key, const char *constraints)
{
	X509 *certificate = X509_new();
	X509_NAME *subject = X509_NAME_new(), *from = X509_NAME_new();
	const EVP_MD *digest = EVP_PKEY_is_a(issuer_key, "ED25519") ?
		NULL : EVP_sha256();

	if (certificate == NULL || subject == NULL || from == NULL)
		openssl_die("make a certificate");
	X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
				   (const unsigned char *)name, -1, -1, 0);
	X509_NAME_add_entry_by_txt(from, "CN", MBSTRING_UTF8,
				   (const unsigned char *)issuer, -1, -1, 0);
	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate),
			 issuer_key == key ? 1 : 2);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
	X509_set_subject_name(certificate, subject);
	X509_set_issuer_name(certificate, from);
	X509_set_pubkey(certificate, key);
	add_extension(certificate, NID_basic_constraints, constraints);
	if (X509_sign(certificate, issuer_key, digest) == 0)
		openssl_die("sign a certificate");
	X509_NAME_free(subject);
	X509_NAME_free(from);
	return certificate;
}

void certificates_install(SSL_CTX *server, SSL_CTX *client, const char *kind)
{
	EVP_PKEY *authority_key = generate_key(kind);
	EVP_PKEY *server_key = generate_key(kind);
	X509 *authority = issue("authority", authority_key, "authority",
				authority_key, "critical,CA:TRUE");
	X509 *certificate = issue("localhost", server_key, "authority",
				  authority_key, "critical,CA:FALSE");

	if (!SSL_CTX_use_certificate(server, certificate) ||
	    !SSL_CTX_use_PrivateKey(server, server_key))
		openssl_die("use the server's certificate");
	if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(client), authority))
		openssl_die("trust the authority");
	SSL_CTX_set_verify(client, SSL_VERIFY_PEER, NULL);
	X509_free(authority);
	X509_free(certificate);
	EVP_PKEY_free(authority_key);
	EVP_PKEY_free(server_key);
}

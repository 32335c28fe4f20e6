/* SPDX-License-Identifier: Apache-2.0 */

/* A throw-away authority and a server certificate signed by it. */

#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <openssl/ssl.h>

/* certificates_install creates both certificates with keys of a kind ("p256",
 * "p384", "rsa" with 2048 bits, "ed25519"), configures server with its
 * certificate, and client to trust the authority and to require a certificate. */
void certificates_install(SSL_CTX *server, SSL_CTX *client, const char *kind);

/* openssl_die ends the program with the reason that OpenSSL reports. */
void openssl_die(const char *what) __attribute__((noreturn));

#endif

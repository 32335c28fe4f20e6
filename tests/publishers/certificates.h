/* SPDX-License-Identifier: Apache-2.0 */

/* A throw-away authority and a server certificate signed by it. */

#ifndef CERTIFICATES_H
#define CERTIFICATES_H

#include <openssl/ssl.h>

/* certificates_install makes both with keys of the named kind ("p256", "p384",
 * "rsa" of 2048 bits, "ed25519"), gives the server's to server, and makes client
 * trust the authority and demand a certificate. */
void certificates_install(SSL_CTX *server, SSL_CTX *client, const char *kind);

/* openssl_die ends the program with OpenSSL's own reason. */
void openssl_die(const char *what) __attribute__((noreturn));

#endif

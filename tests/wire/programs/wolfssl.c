/* SPDX-License-Identifier: Apache-2.0 */

/* Makes a handshake with wolfSSL and prints what it reports:
 * wolfssl client PORT, or wolfssl server PORT CERTIFICATE KEY, for one client after
 * another. With dtls as the first word, over UDP. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int dtls = argc > 1 && !strcmp(argv[1], "dtls"), server, yes = 1, s, connection;
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	WOLFSSL_METHOD *method;
	WOLFSSL_CTX *context;
	char buffer[100];

	argc -= dtls;
	argv += dtls;
	if (argc < 3)
		return 2;
	server = argc == 5 && !strcmp(argv[1], "server");
	s = connection = socket(AF_INET, dtls ? SOCK_DGRAM : SOCK_STREAM, 0);
	address.sin_port = htons(atoi(argv[2]));
	wolfSSL_Init();
	if (dtls)
		method = server ? wolfDTLSv1_2_server_method() : wolfDTLSv1_2_client_method();
	else
		method = server ? wolfSSLv23_server_method() : wolfSSLv23_client_method();
	context = wolfSSL_CTX_new(method);
	check(!!context, "context");
	wolfSSL_CTX_set_verify(context, WOLFSSL_VERIFY_NONE, NULL);
	if (server) {
		check(wolfSSL_CTX_use_certificate_file(context, argv[3], WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS, argv[3]);
		check(wolfSSL_CTX_use_PrivateKey_file(context, argv[4], WOLFSSL_FILETYPE_PEM) == WOLFSSL_SUCCESS, argv[4]);
		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
		check(!bind(s, (struct sockaddr *)&address, sizeof(address)) && (dtls || !listen(s, 5)), "listen");
	} else {
		check(!connect(s, (struct sockaddr *)&address, sizeof(address)), "connect");
	}
	do {
		WOLFSSL *ssl = wolfSSL_new(context);

		if (server && !dtls)
			connection = accept(s, NULL, NULL);
		check(connection >= 0, "accept");
		wolfSSL_set_fd(ssl, connection);
		check((server ? wolfSSL_accept(ssl) : wolfSSL_connect(ssl)) == WOLFSSL_SUCCESS, "handshake");
		printf("%s %s %s\n", wolfSSL_get_version(ssl), wolfSSL_CIPHER_get_name(wolfSSL_get_current_cipher(ssl)),
		       wolfSSL_get_curve_name(ssl));
		fflush(stdout);
		if (server)
			while (wolfSSL_read(ssl, buffer, sizeof(buffer)) > 0)
				;
		wolfSSL_shutdown(ssl);
		wolfSSL_free(ssl);
		if (!dtls)
			close(connection);
	} while (server);
	return 0;
}

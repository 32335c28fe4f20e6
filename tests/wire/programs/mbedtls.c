/* SPDX-License-Identifier: Apache-2.0 */

/* Makes a handshake with mbedTLS and prints what it reports:
 * mbedtls client PORT, or mbedtls server PORT CERTIFICATE KEY, for one client after
 * another. With dtls as the first word, over UDP and without cookies. */
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/net_sockets.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>
#include <mbedtls/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(int status, const char *what)
{
	if (status < 0) {
		fprintf(stderr, "%s: -0x%x\n", what, -status);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	int dtls = argc > 1 && !strcmp(argv[1], "dtls"), server, protocol;
	mbedtls_timing_delay_context timer;
	unsigned char buffer[100];
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_ssl_config config;
	mbedtls_x509_crt certificate;
	mbedtls_pk_context key;
	mbedtls_net_context listener, connection;

	argc -= dtls;
	argv += dtls;
	if (argc < 3)
		return 2;
	server = argc == 5 && !strcmp(argv[1], "server");
	protocol = dtls ? MBEDTLS_NET_PROTO_UDP : MBEDTLS_NET_PROTO_TCP;
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random);
	mbedtls_ssl_config_init(&config);
	mbedtls_x509_crt_init(&certificate);
	mbedtls_pk_init(&key);
	mbedtls_net_init(&listener);
	check(mbedtls_ctr_drbg_seed(&random, mbedtls_entropy_func, &entropy, NULL, 0), "random");
	check(mbedtls_ssl_config_defaults(&config, server ? MBEDTLS_SSL_IS_SERVER : MBEDTLS_SSL_IS_CLIENT,
					  dtls ? MBEDTLS_SSL_TRANSPORT_DATAGRAM : MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), "configuration");
	mbedtls_ssl_conf_rng(&config, mbedtls_ctr_drbg_random, &random);
	mbedtls_ssl_conf_authmode(&config, MBEDTLS_SSL_VERIFY_NONE);
	if (dtls && server)
		mbedtls_ssl_conf_dtls_cookies(&config, NULL, NULL, NULL);
	if (server) {
		check(mbedtls_x509_crt_parse_file(&certificate, argv[3]), argv[3]);
#if MBEDTLS_VERSION_MAJOR < 3
		check(mbedtls_pk_parse_keyfile(&key, argv[4], NULL), argv[4]);
#else
		check(mbedtls_pk_parse_keyfile(&key, argv[4], NULL, mbedtls_ctr_drbg_random, &random), argv[4]);
#endif
		check(mbedtls_ssl_conf_own_cert(&config, &certificate, &key), "key");
		check(mbedtls_net_bind(&listener, "127.0.0.1", argv[2], protocol), "bind");
	}
	do {
		mbedtls_ssl_context ssl;

		mbedtls_net_init(&connection);
		mbedtls_ssl_init(&ssl);
		check(mbedtls_ssl_setup(&ssl, &config), "setup");
		if (server)
			check(mbedtls_net_accept(&listener, &connection, NULL, 0, NULL), "accept");
		else
			check(mbedtls_net_connect(&connection, "127.0.0.1", argv[2], protocol), "connect");
		mbedtls_ssl_set_bio(&ssl, &connection, mbedtls_net_send, mbedtls_net_recv, mbedtls_net_recv_timeout);
		if (dtls)
			mbedtls_ssl_set_timer_cb(&ssl, &timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
		check(mbedtls_ssl_handshake(&ssl), "handshake");
		printf("%s %s\n", mbedtls_ssl_get_version(&ssl), mbedtls_ssl_get_ciphersuite(&ssl));
		fflush(stdout);
		if (server)
			while (mbedtls_ssl_read(&ssl, buffer, sizeof(buffer)) > 0)
				;
		mbedtls_ssl_close_notify(&ssl);
		mbedtls_ssl_free(&ssl);
		mbedtls_net_free(&connection);
	} while (server);
	return 0;
}

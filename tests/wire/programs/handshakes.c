/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes handshakes with OpenSSL in memory. For each side it prints one line with the values
 * that the library reports: role, result, version, suite, NID of the group, NIDs of the peer's
 * and the own signature (type and hash), and whether the session was resumed.
 */
#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Gives the process a shadow stack (arch_prctl(2), ARCH_SHSTK_ENABLE). The functions that
 * called this one can no longer return.
 */
static inline __attribute__((always_inline)) long shadow(void)
{
	long result = -1;

#if defined(__x86_64__)
	__asm__ volatile("syscall" : "=a"(result) : "0"((long)SYS_arch_prctl), "D"(0x5001L), "S"(1L) : "rcx", "r11", "memory");
#endif
	return result;
}

static SSL_CTX *server, *client;
static int count = 1, resume, async, jump, leave, renegotiate, retry = 60;
static __thread jmp_buf back;
static __thread int jumped;

static void report(SSL *s, const char *role, int done)
{
	int peer_type = 0, peer_hash = 0, own_type = 0, own_hash = 0;
	const SSL_CIPHER *cipher = SSL_get_current_cipher(s);

	if (!done) {
		printf("%s 0\n", role);
		return;
	}
	SSL_get_peer_signature_type_nid(s, &peer_type);
	SSL_get_peer_signature_nid(s, &peer_hash);
	SSL_get_signature_type_nid(s, &own_type);
	SSL_get_signature_nid(s, &own_hash);
	printf("%s 1 %d %d %d %d/%d %d/%d %d\n", role, SSL_version(s), cipher ? SSL_CIPHER_get_protocol_id(cipher) : 0,
	       (int)SSL_get_negotiated_group(s), peer_type, peer_hash, own_type, own_hash, SSL_session_reused(s));
}

static int pause_job(SSL *s, void *unused)
{
	if (ASYNC_get_current_job())
		ASYNC_pause_job();
	return 1;
}

static int verify(int ok, X509_STORE_CTX *unused)
{
	if (jump && !jumped) {
		jumped = 1;
		longjmp(back, 1);
	}
	if (ASYNC_get_current_job())
		ASYNC_pause_job();
	return async || jump ? 1 : ok;
}

static SSL *object(SSL_CTX *context, BIO *bio)
{
	SSL *s = SSL_new(context);

	SSL_set_bio(s, bio, bio);
	if (context == server)
		SSL_set_accept_state(s);
	else
		SSL_set_connect_state(s);
	return s;
}

/* Reports whether a side has completed another handshake since its last Finished message. */
static int is_new(SSL *s, const char *before, size_t length)
{
	char now[64] = {};

	return SSL_get_finished(s, now, sizeof(now)) == length && memcmp(before, now, length) && SSL_is_init_finished(s);
}

/* The client asks for another handshake on a connection of TLS 1.2. */
static void again(SSL *c, SSL *s)
{
	char at_client[64] = {}, at_server[64] = {}, byte;
	size_t of_client = SSL_get_finished(c, at_client, sizeof(at_client)), of_server = SSL_get_finished(s, at_server, sizeof(at_server));

	SSL_renegotiate(c);
	for (int round = 0; round < retry; round++) {
		SSL_do_handshake(c);
		SSL_read(s, &byte, 1);
		ERR_clear_error();
	}
	report(c, "client", is_new(c, at_client, of_client));
	report(s, "server", is_new(s, at_server, of_server));
}

/* Handshakes that alternate, for jobs that pause each other. */
#define PAIRS 4

static void *run(void *unused)
{
	SSL_SESSION *session = NULL;

	for (volatile int i = 0; i < count; i++) {
		int pairs = async ? PAIRS : 1, state[2 * PAIRS] = {}, error[2 * PAIRS] = {};
		SSL *s[2 * PAIRS];

		for (int k = 0; k < pairs; k++) {
			BIO *a, *b;

			BIO_new_bio_pair(&a, 65536, &b, 65536);
			s[2 * k] = object(client, a);
			s[2 * k + 1] = object(server, b);
			if (session)
				SSL_set_session(s[2 * k], session);
		}
		if (setjmp(back)) {
			/* The program never returns to this handshake. */
			SSL_free(s[0]);
			SSL_free(s[1]);
			i--;
			continue;
		}
		for (int round = 0; round < retry; round++)
			for (int k = 0; k < 2 * pairs; k++)
				if (s[k] && state[k] != 1 && error[k] != SSL_ERROR_SSL) {
					state[k] = SSL_do_handshake(s[k]);
					error[k] = SSL_get_error(s[k], state[k]);
					ERR_clear_error();
					if (leave && k % 2 == 0 && state[k] == 1) {
						/* The server has not read its last message yet. */
						report(s[k], "client", 1);
						SSL_free(s[k]);
						s[k] = NULL;
					}
				}
		for (int k = 0; k < pairs; k++) {
			char byte;

			if (s[2 * k] && state[2 * k] == 1 && state[2 * k + 1] == 1) {
				/* Tickets arrive with the first data. */
				SSL_write(s[2 * k + 1], "x", 1);
				SSL_read(s[2 * k], &byte, 1);
				if (resume && !session)
					session = SSL_get1_session(s[2 * k]);
			}
			if (s[2 * k])
				report(s[2 * k], "client", state[2 * k] == 1);
			report(s[2 * k + 1], "server", state[2 * k + 1] == 1);
			if (renegotiate)
				again(s[2 * k], s[2 * k + 1]);
			SSL_free(s[2 * k]);
			SSL_free(s[2 * k + 1]);
		}
		jumped = 0;
	}
	return NULL;
}

#define THREADS 4

int main(int argc, char **argv)
{
	const char *authority = NULL, *certificate = NULL, *key = NULL;
	int threads = 0, processes = 0;
	pthread_t thread[THREADS];

	/* Several processes share a pipe; each line must be one write. */
	setvbuf(stdout, NULL, _IOLBF, 0);
	server = SSL_CTX_new(TLS_server_method());
	client = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_session_id_context(server, (void *)"x", 1);
	for (int i = 1; i < argc; i++) {
		const char *option = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";

		if (!strcmp(option, "-resume"))
			resume = 1;
		else if (!strcmp(option, "-async"))
			async = 1;
		else if (!strcmp(option, "-jump"))
			jump = 1;
		else if (!strcmp(option, "-shadow")) {
			if (shadow())
				return 3;
		} else if (!strcmp(option, "-leave"))
			leave = 1;
		else if (!strcmp(option, "-renegotiate"))
			renegotiate = 1;
		else if (!strcmp(option, "-threads"))
			threads = 1;
		else if (!strcmp(option, "-12"))
			SSL_CTX_set_max_proto_version(client, TLS1_2_VERSION);
		else if (!strcmp(option, "-only13"))
			SSL_CTX_set_min_proto_version(server, TLS1_3_VERSION);
		else if (i++, !strcmp(option, "-certificate"))
			certificate = value;
		else if (!strcmp(option, "-key"))
			key = value;
		else if (!strcmp(option, "-count"))
			count = atoi(value);
		else if (!strcmp(option, "-rounds"))
			retry = atoi(value);
		else if (!strcmp(option, "-processes"))
			processes = atoi(value);
		else if (!strcmp(option, "-groups"))
			SSL_CTX_set1_groups_list(server, value), SSL_CTX_set1_groups_list(client, value);
		else if (!strcmp(option, "-cipher"))
			SSL_CTX_set_cipher_list(client, value), SSL_CTX_set_cipher_list(server, value);
		else if (!strcmp(option, "-authority"))
			authority = value;
		else if (!strcmp(option, "-client-certificate")) {
			SSL_CTX_use_certificate_chain_file(client, value);
			SSL_CTX_load_verify_locations(server, value, NULL);
			SSL_CTX_set_verify(server, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
		} else if (!strcmp(option, "-client-key"))
			SSL_CTX_use_PrivateKey_file(client, value, SSL_FILETYPE_PEM);
		else
			return 2;
	}
	if (SSL_CTX_use_certificate_chain_file(server, certificate) != 1 || SSL_CTX_use_PrivateKey_file(server, key, SSL_FILETYPE_PEM) != 1) {
		ERR_print_errors_fp(stderr);
		return 1;
	}
	SSL_CTX_set_options(server, SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
	if (authority)
		SSL_CTX_load_verify_locations(client, authority, NULL);
	if (authority || jump || async)
		SSL_CTX_set_verify(client, SSL_VERIFY_PEER, verify);
	if (async) {
		SSL_CTX_set_cert_cb(server, pause_job, NULL);
		SSL_CTX_set_mode(server, SSL_MODE_ASYNC);
		SSL_CTX_set_mode(client, SSL_MODE_ASYNC);
	}
	for (int p = 0; p < processes; p++)
		if (fork() == 0) {
			processes = 0;
			goto child;
		}
child:
	if (!threads)
		run(NULL);
	for (int i = 0; threads && i < THREADS; i++)
		pthread_create(&thread[i], NULL, run, NULL);
	for (int i = 0; threads && i < THREADS; i++)
		pthread_join(thread[i], NULL);
	fflush(stdout);
	int failed = 0, status;

	while (processes && wait(&status) > 0)
		failed |= status;
	exit(failed != 0);
}

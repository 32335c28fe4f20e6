// SPDX-License-Identifier: Apache-2.0

/*
 * Real TLS handshakes of the system's OpenSSL with itself, instrumented through
 * OpenSSL's callbacks; see README.md.
 *
 * OpenSSL calls a callback after a step of the state machine, so operations are
 * reported when they are complete, with their original nesting.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "certificates.h"
#include "crau/crau.h"
#include "fire.h"
#include "publisher.h"

static const char help[] =
"Usage: handshake [OPTIONS]\n"
"Does real TLS handshakes, client and server in one process, and fires probes\n"
"that tell of them.\n"
"\n"
"  --tls 1.2|1.3     version (default 1.3)\n"
"  --count N         handshakes (default 1)\n"
"  --groups LIST     groups both sides offer, as OpenSSL names them, e.g. P-256:X25519\n"
"  --key KIND        of the certificates: p256 (default), p384, rsa, ed25519\n"
"  --memory          connect through memory instead of a socket pair\n"
"  --probes TRACE    fire the handshake recorded in TRACE, spread over each real\n"
"                    one, instead of probes that tell of the real one\n"
"  --plain           fire nothing, as a program without probes does\n"
"  --counts FILE     count hits and values in FILE\n"
"  --wait            start when a byte arrives on standard input\n"
"  --wait-file FILE  start when FILE exists\n"
"  --commands        take \"run N\" (handshakes) from standard input\n";

/* The state of the program, which has one thread. */
struct run {
	SSL_CTX *client, *server;
	bool memory, plain;
	struct counts_slot *slot;
	/* With --probes: the recorded handshake, the number of its hits that are
	 * fired, and the number of callbacks of a real handshake, over which they
	 * are distributed. */
	struct trace *trace;
	uintptr_t ids[64];
	size_t fired;
	uint64_t callbacks, callbacks_expected;
	uint64_t handshakes;
};

/* One end of a connection, the application data of its SSL object. */
struct side {
	struct run *run;
	struct crau_stack stack;
	bool server;
};

#define ITEMS(...) \
	(sizeof((struct crau_item[]){ __VA_ARGS__ }) / sizeof(struct crau_item))

/* OPEN and TELL are CRAU_PUSH_DATA and CRAU_STACK_DATA with counting. They check
 * the semaphore once, so that they count exactly the hits they fire. */
#define OPEN(side, ...)                                                     \
	do {                                                                \
		struct counts_slot *slot_ = (side)->run->slot;              \
		struct crau_stack *open_ = &(side)->stack;                  \
		uintptr_t id_ = crau_new_id(crau_thread_stack());           \
		if (crau_enabled()) {                                       \
			counts_begin(slot_, PROBE_NEW_CONTEXT_WITH_DATA,    \
				     ITEMS(__VA_ARGS__));                   \
			struct crau_item items_[] = { __VA_ARGS__ };        \
			crau_fire_new_context_with_data(                    \
				id_, crau_current(open_), items_,           \
				ITEMS(__VA_ARGS__));                        \
			counts_end(slot_, PROBE_NEW_CONTEXT_WITH_DATA,      \
				   ITEMS(__VA_ARGS__));                     \
		}                                                           \
		crau_push(open_, id_);                                      \
	} while (0)

#define TELL(side, ...)                                                     \
	do {                                                                \
		struct counts_slot *slot_ = (side)->run->slot;              \
		if (crau_enabled()) {                                       \
			counts_begin(slot_, PROBE_DATA, ITEMS(__VA_ARGS__)); \
			struct crau_item items_[] = { __VA_ARGS__ };        \
			crau_fire_data(crau_current(&(side)->stack), items_, \
				       ITEMS(__VA_ARGS__));                 \
			counts_end(slot_, PROBE_DATA, ITEMS(__VA_ARGS__));  \
		}                                                           \
	} while (0)

#define CLOSE(side) crau_pop(&(side)->stack)

/* Returns IANA's number of a TLS Supported Group. For a group without a NID,
 * OpenSSL returns the IANA number itself, marked in higher bits. */
static long group_number(int nid)
{
	switch (nid) {
	case NID_X9_62_prime256v1: return 23;
	case NID_secp384r1: return 24;
	case NID_secp521r1: return 25;
	case NID_X25519: return 29;
	case NID_X448: return 30;
	case NID_ffdhe2048: return 256;
	case NID_ffdhe3072: return 257;
	case NID_ffdhe4096: return 258;
	case NID_ffdhe6144: return 259;
	case NID_ffdhe8192: return 260;
	default: return nid & 0xffff;
	}
}

static const char *group_name(int nid)
{
	const char *name = EC_curve_nid2nist(nid);

	return name != NULL ? name : OBJ_nid2sn(nid);
}

/* Returns IANA's TLS SignatureScheme: as in TLS 1.2, the algorithm is in the low
 * byte and the hash in the high byte, except for RSA-PSS and EdDSA. */
static long scheme_number(int type, int hash)
{
	long sha = hash == NID_sha256 ? 4 : hash == NID_sha384 ? 5 :
		hash == NID_sha512 ? 6 : hash == NID_sha1 ? 2 : 0;

	switch (type) {
	case EVP_PKEY_EC: return sha << 8 | 3;
	case EVP_PKEY_RSA: return sha << 8 | 1;
	case EVP_PKEY_RSA_PSS: return 0x0800 + sha;
	case EVP_PKEY_ED25519: return 0x0807;
	case EVP_PKEY_ED448: return 0x0808;
	default: return 0;
	}
}

static const char *algorithm_name(int type)
{
	switch (type) {
	case EVP_PKEY_EC: return "ECDSA";
	case EVP_PKEY_RSA: return "RSA";
	case EVP_PKEY_RSA_PSS: return "RSA-PSS";
	default: return OBJ_nid2sn(type);
	}
}

static const char *hash_name(int hash)
{
	return hash == NID_undef ? NULL : OBJ_nid2sn(hash);
}

static void report_parameters(struct side *side, SSL *ssl)
{
	TELL(side, CRAU_WORD("tls::protocol_version", SSL_version(ssl)),
	     CRAU_WORD("tls::ciphersuite",
		       SSL_CIPHER_get_protocol_id(SSL_get_pending_cipher(ssl))));
}

static void report_key_exchange(struct side *side, SSL *ssl)
{
	int nid = (int)SSL_get_negotiated_group(ssl);

	OPEN(side, CRAU_STRING("name", "tls::key_exchange"),
	     CRAU_WORD("tls::group", group_number(nid)));
	OPEN(side, CRAU_STRING("name", "pk::generate"),
	     CRAU_STRING("pk::algorithm", "ECDH"));
	TELL(side, CRAU_STRING("pk::group", group_name(nid)));
	CLOSE(side);
	OPEN(side, CRAU_STRING("name", "pk::derive"),
	     CRAU_STRING("pk::algorithm", "ECDH"));
	TELL(side, CRAU_STRING("pk::group", group_name(nid)));
	CLOSE(side);
	CLOSE(side);
}

/* Reports the signature of the handshake, which the server creates and the client
 * verifies. */
static void report_signature(struct side *side, SSL *ssl)
{
	int type = NID_undef, hash = NID_undef;

	if (side->server) {
		SSL_get_signature_type_nid(ssl, &type);
		SSL_get_signature_nid(ssl, &hash);
	} else {
		SSL_get_peer_signature_type_nid(ssl, &type);
		SSL_get_peer_signature_nid(ssl, &hash);
	}
	EVP_PKEY *key = side->server ? SSL_get_privatekey(ssl) :
		X509_get0_pubkey(SSL_get0_peer_certificate(ssl));

	OPEN(side, CRAU_STRING("name", side->server ? "tls::sign" : "tls::verify"),
	     CRAU_WORD("tls::signature_algorithm", scheme_number(type, hash)));
	OPEN(side, CRAU_STRING("name", side->server ? "pk::sign" : "pk::verify"),
	     CRAU_STRING("pk::algorithm", algorithm_name(type)));
	TELL(side, CRAU_WORD("pk::bits", EVP_PKEY_get_bits(key)),
	     CRAU_STRING("pk::hash", hash_name(hash)));
	CLOSE(side);
	CLOSE(side);
}

static void report_step(struct side *side, SSL *ssl)
{
	bool tls13 = SSL_version(ssl) == TLS1_3_VERSION;

	switch (SSL_get_state(ssl)) {
	case TLS_ST_CR_SRVR_HELLO:
	case TLS_ST_SW_SRVR_HELLO:
		report_parameters(side, ssl);
		if (tls13)
			report_key_exchange(side, ssl);
		break;
	case TLS_ST_CR_CERT_VRFY:
	case TLS_ST_SW_CERT_VRFY:
		report_signature(side, ssl);
		break;
	case TLS_ST_CR_KEY_EXCH: /* in TLS 1.2 the server signs the key exchange, */
	case TLS_ST_SW_KEY_EXCH:
		report_signature(side, ssl);
		break;
	case TLS_ST_CW_KEY_EXCH: /* which the client's share completes */
	case TLS_ST_SR_KEY_EXCH:
		report_key_exchange(side, ssl);
		break;
	default:
		break;
	}
}

/* Fires the recorded handshake up to a hit. */
static void fire_recorded(struct run *run, size_t until)
{
	if (until > run->trace->length)
		until = run->trace->length;
	if (until <= run->fired)
		return;
	struct trace part = *run->trace;
	part.hits += run->fired;
	part.length = until - run->fired;
	if (crau_enabled())
		fire_trace(&part, run->ids, run->slot, SITE_CRAU, 0);
	run->fired = until;
}

static void step_recorded(struct run *run)
{
	run->callbacks++;
	if (run->callbacks_expected > 0)
		fire_recorded(run, run->callbacks * run->trace->length /
				   run->callbacks_expected);
}

static void info_callback(const SSL *const_ssl, int where, int value)
{
	SSL *ssl = (SSL *)const_ssl; /* some getters require a non-const pointer */
	struct side *side = SSL_get_app_data(ssl);

	if (side->run->trace != NULL) {
		step_recorded(side->run);
		return;
	}
	if (where & SSL_CB_HANDSHAKE_START)
		OPEN(side, CRAU_STRING("name", "tls::handshake"),
		     CRAU_STRING("tls::role", side->server ? "server" : "client"));
	else if (where & SSL_CB_HANDSHAKE_DONE)
		CLOSE(side);
	else if (where & SSL_CB_LOOP)
		report_step(side, ssl);
}

static int verify_chain(X509_STORE_CTX *store, void *data)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store,
					      SSL_get_ex_data_X509_STORE_CTX_idx());
	struct side *side = SSL_get_app_data(ssl);
	int hash = NID_undef, type = NID_undef;

	if (side->run->trace != NULL)
		return X509_verify_cert(store);
	OPEN(side, CRAU_STRING("name", "tls::verify_cert_chain"));
	int valid = X509_verify_cert(store);
	X509_get_signature_info(X509_STORE_CTX_get0_cert(store), &hash, &type,
				NULL, NULL);
	OPEN(side, CRAU_STRING("name", "pk::verify"),
	     CRAU_STRING("pk::algorithm", algorithm_name(type)));
	TELL(side, CRAU_STRING("pk::hash", hash_name(hash)));
	CLOSE(side);
	CLOSE(side);
	return valid;
}

static void connect_pair(const struct run *run, SSL *client, SSL *server)
{
	if (run->memory) {
		BIO *a, *b;

		if (!BIO_new_bio_pair(&a, 0, &b, 0))
			openssl_die("connect through memory");
		SSL_set_bio(client, a, a);
		SSL_set_bio(server, b, b);
		return;
	}
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
		       fds) < 0)
		die("cannot make a socket pair: %s", strerror(errno));
	if (!SSL_set_fd(client, fds[0]) || !SSL_set_fd(server, fds[1]))
		openssl_die("use a socket");
	BIO_set_close(SSL_get_rbio(client), BIO_CLOSE);
	BIO_set_close(SSL_get_rbio(server), BIO_CLOSE);
}

/* Returns whether the handshake is complete on this side. */
static bool advance(SSL *ssl)
{
	int result = SSL_do_handshake(ssl);

	if (result == 1)
		return true;
	int error = SSL_get_error(ssl, result);
	if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
		openssl_die("finish the handshake");
	return false;
}

static SSL *new_side(SSL_CTX *context, struct side *side)
{
	SSL *ssl = SSL_new(context);

	if (ssl == NULL)
		openssl_die("make a connection");
	SSL_set_app_data(ssl, side);
	if (side->server)
		SSL_set_accept_state(ssl);
	else
		SSL_set_connect_state(ssl);
	return ssl;
}

static void handshake(struct run *run)
{
	struct side client_side = { .run = run };
	struct side server_side = { .run = run, .server = true };
	SSL *client = new_side(run->client, &client_side);
	SSL *server = new_side(run->server, &server_side);

	if (run->trace != NULL) {
		run->fired = 0;
		run->callbacks = 0;
		for (size_t i = 0; i < run->trace->contexts_length; i++)
			run->ids[i] = crau_new_id(crau_thread_stack());
	}
	connect_pair(run, client, server);
	bool client_done = false, server_done = false;
	while (!client_done || !server_done) {
		if (!client_done)
			client_done = advance(client);
		if (!server_done)
			server_done = advance(server);
	}
	if (run->trace != NULL) {
		fire_recorded(run, run->trace->length);
		run->callbacks_expected = run->callbacks;
	}
	SSL_free(client);
	SSL_free(server);
	run->handshakes++;
}

static void handshakes(uint64_t n, void *data)
{
	for (uint64_t i = 0; i < n; i++)
		handshake(data);
	counts->operations += n;
}

static SSL_CTX *new_context(const SSL_METHOD *method, int version,
			    const char *groups)
{
	SSL_CTX *context = SSL_CTX_new(method);

	if (context == NULL || !SSL_CTX_set_min_proto_version(context, version) ||
	    !SSL_CTX_set_max_proto_version(context, version))
		openssl_die("set up TLS");
	if (groups != NULL && !SSL_CTX_set1_groups_list(context, groups))
		usage_error("--groups %s: OpenSSL does not support all of them", groups);
	/* No resumption and no session tickets: every handshake is a full one and
	 * ends with its last message. */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_options(context, SSL_OP_NO_TICKET);
	SSL_CTX_set_num_tickets(context, 0);
	return context;
}

int main(int argc, char **argv)
{
	enum { TLS = 1, COUNT, GROUPS, KEY, MEMORY, PROBE_TRACE, PLAIN, COMMANDS };
	static const struct option options[] = {
		{ "tls", required_argument, NULL, TLS },
		{ "count", required_argument, NULL, COUNT },
		{ "groups", required_argument, NULL, GROUPS },
		{ "key", required_argument, NULL, KEY },
		{ "memory", no_argument, NULL, MEMORY },
		{ "probes", required_argument, NULL, PROBE_TRACE },
		{ "plain", no_argument, NULL, PLAIN },
		{ "commands", no_argument, NULL, COMMANDS },
		COMMON_OPTIONS,
	};
	struct run run = { 0 };
	struct trace trace;
	struct common common = { 0 };
	const char *groups = NULL, *key = "p256";
	uint64_t count = 1;
	int version = TLS1_3_VERSION;
	bool commands = false;
	int option;

	while ((option = next_option(argc, argv, options, help, &common)) != -1) {
		switch (option) {
		case TLS:
			if (strcmp(optarg, "1.2") == 0)
				version = TLS1_2_VERSION;
			else if (strcmp(optarg, "1.3") == 0)
				version = TLS1_3_VERSION;
			else
				usage_error("--tls %s: must be 1.2 or 1.3", optarg);
			break;
		case COUNT:
			count = parse_number("--count", optarg, 1, UINT32_MAX);
			break;
		case GROUPS:
			groups = optarg;
			break;
		case KEY:
			key = optarg;
			break;
		case MEMORY:
			run.memory = true;
			break;
		case PROBE_TRACE:
			trace_read(&trace, optarg, false);
			if (trace.contexts_length > sizeof(run.ids) / sizeof(*run.ids))
				die("cannot use trace %s: too many contexts", optarg);
			run.trace = &trace;
			break;
		case PLAIN:
			run.plain = true;
			break;
		case COMMANDS:
			commands = true;
			break;
		}
	}
	if (optind != argc)
		usage_error("unexpected argument %s", argv[optind]);
	if (commands && common.gate.standard_input)
		usage_error("--commands cannot be combined with --wait");

	counts_open(common.counts);
	run.slot = counts_slot();
	run.client = new_context(TLS_client_method(), version, groups);
	run.server = new_context(TLS_server_method(), version, groups);
	if (!run.plain) {
		SSL_CTX_set_info_callback(run.client, info_callback);
		SSL_CTX_set_info_callback(run.server, info_callback);
		SSL_CTX_set_cert_verify_callback(run.client, verify_chain, NULL);
	}
	certificates_install(run.server, run.client, key);
	gate_pass(&common.gate);
	counts_state(STATE_FIRING);
	if (commands)
		command_loop(handshakes, &run);
	else
		handshakes(count, &run);
	counts_state(STATE_DONE);
	struct counts_totals totals = counts_totals();
	printf("hits %" PRIu64 " values %" PRIu64 "\n", totals.hits, totals.values);
	SSL_CTX_free(run.client);
	SSL_CTX_free(run.server);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0

#define _GNU_SOURCE
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "publisher.h"

static const struct {
	const char *name;
	enum probe probe;
} probes[] = {
	{ "new_context", PROBE_NEW_CONTEXT },
	{ "new_context_with_data", PROBE_NEW_CONTEXT_WITH_DATA },
	{ "data", PROBE_DATA },
};

static void *more(void *array, size_t length, size_t size)
{
	array = realloc(array, (length + 1) * size);
	if (array == NULL)
		die("cannot allocate memory for the trace");
	memset((char *)array + length * size, 0, size);
	return array;
}

static int context_index(struct trace *trace, uintptr_t context)
{
	size_t i = 0;

	if (context == CRAU_NO_PARENT)
		return TRACE_NO_PARENT;
	while (i < trace->contexts_length && trace->contexts[i] != context)
		i++;
	if (i == trace->contexts_length) {
		trace->contexts = more(trace->contexts, i, sizeof(uintptr_t));
		trace->contexts[i] = context;
		trace->contexts_length++;
	}
	return (int)i;
}

/* The fields of a line. Pointers point into the line. */
struct line {
	enum probe probe;
	uintptr_t context, parent;
	unsigned long index, count; /* of "[I/N]"; both 0 without a value */
	const char *key, *text;     /* text is NULL for a word */
	int64_t word;
};

static bool parse_value(struct line *parsed, char *text)
{
	char *equals = strstr(text, " = ");

	if (sscanf(text, "[%lu/%lu] ", &parsed->index, &parsed->count) != 2 ||
	    parsed->index < 1 || parsed->index > parsed->count ||
	    parsed->count > CRAU_MAX_ITEMS || equals == NULL)
		return false;
	*equals = '\0';
	parsed->key = strchr(text, ' ') + 1;
	char *value = equals + 3;
	if (sscanf(value, "word %" SCNd64, &parsed->word) == 1)
		return true;
	size_t length = strlen(value);
	if (length < 2 || value[0] != '"' || value[length - 1] != '"')
		return false;
	value[length - 1] = '\0';
	parsed->text = value + 1;
	return true;
}

static bool parse_line(struct line *parsed, char *text)
{
	char probe[32];
	int end = 0;

	memset(parsed, 0, sizeof(*parsed));
	parsed->parent = CRAU_NO_PARENT;
	if (sscanf(text, "%*s %*s %*s %*s %*s %31s ctx=%" SCNxPTR " %n", probe,
		   &parsed->context, &end) != 2 || end == 0)
		return false;
	size_t i = 0;
	while (i < sizeof(probes) / sizeof(probes[0]) &&
	       strcmp(probes[i].name, probe) != 0)
		i++;
	if (i == sizeof(probes) / sizeof(probes[0]))
		return false;
	parsed->probe = probes[i].probe;
	text += end;
	if (parsed->probe != PROBE_DATA) {
		end = 0;
		if (sscanf(text, "parent=%" SCNxPTR " %n", &parsed->parent,
			   &end) != 1 || end == 0)
			return false;
		text += end;
	}
	if (parsed->probe == PROBE_NEW_CONTEXT)
		return *text == '\0';
	return parse_value(parsed, text);
}

static bool is_handshake(const struct line *line)
{
	return line->text != NULL && strcmp(line->key, "name") == 0 &&
	       strncmp(line->text, "tls::handshake", 14) == 0;
}

/* The literals of real libraries must be literals here, too, because a tracer may
 * treat them differently from other memory. */
static const char *const literals[] = {
	"name", "tls::handshake", "tls::handshake_client", "tls::handshake_server",
	"tls::role", "client", "server", "tls::protocol_version", "tls::ciphersuite",
	"tls::key_exchange", "tls::group", "tls::sign", "tls::verify",
	"tls::verify_cert_chain", "tls::signature_algorithm",
	"tls::extended_master_secret", "pk::generate", "pk::derive", "pk::sign",
	"pk::verify", "pk::encrypt", "pk::decrypt", "pk::encapsulate",
	"pk::decapsulate", "pk::algorithm", "pk::bits", "pk::curve", "pk::group",
	"pk::hash", "pk::static", "pk::rsa_padding", "EC/ECDSA", "ECDH (X25519)",
	"RSA", "RSA-PSS", "EdDSA (Ed25519)", "SECP256R1", "SECP384R1", "X25519",
	"SHA256", "SHA384", "SHA512",
};

static const char *copy(const char *text)
{
	for (size_t i = 0; i < sizeof(literals) / sizeof(literals[0]); i++)
		if (strcmp(text, literals[i]) == 0)
			return literals[i];

	char *memory = strdup(text);

	if (memory == NULL)
		die("cannot allocate memory for the trace");
	return memory;
}

/* Returns false if the line does not continue the previous hit. */
static bool append(struct trace *trace, const struct line *line)
{
	struct hit *hit;

	if (line->index > 1) {
		if (trace->length == 0)
			return false;
		hit = &trace->hits[trace->length - 1];
		if (hit->probe != line->probe ||
		    trace->contexts[hit->context] != line->context ||
		    hit->count != line->index - 1)
			return false;
	} else {
		int context = context_index(trace, line->context);
		int parent = context_index(trace, line->parent);

		if (context == TRACE_NO_PARENT)
			return false;
		trace->hits = more(trace->hits, trace->length, sizeof(*hit));
		hit = &trace->hits[trace->length++];
		hit->probe = line->probe;
		hit->context = context;
		hit->parent = parent;
	}
	if (line->count == 0)
		return true;

	struct crau_item word = CRAU_WORD(NULL, line->word);
	struct crau_item string = CRAU_STRING(NULL, NULL);
	hit->items = more(hit->items, hit->count, sizeof(struct crau_item));
	struct crau_item *item = &hit->items[hit->count++];
	*item = line->text == NULL ? word : string;
	item->key = copy(line->key);
	if (line->text != NULL && *line->text != '\0')
		item->value = copy(line->text);
	trace->values++;
	return true;
}

void trace_read(struct trace *trace, const char *path, bool whole)
{
	FILE *file = fopen(path, "re");
	char *text = NULL;
	size_t size = 0;
	ssize_t length;
	bool started = whole;
	int number = 0;

	if (file == NULL)
		die("cannot open trace %s: %s", path, strerror(errno));
	memset(trace, 0, sizeof(*trace));
	while ((length = getline(&text, &size, file)) > 0) {
		struct line line;

		number++;
		if (text[length - 1] == '\n')
			text[length - 1] = '\0';
		if (!parse_line(&line, text))
			die("%s:%d: not a line of a probe trace", path, number);
		started = started || is_handshake(&line);
		if (started && !append(trace, &line))
			die("%s:%d: does not continue the previous hit", path,
			    number);
	}
	if (ferror(file))
		die("cannot read trace %s: %s", path, strerror(errno));
	fclose(file);
	free(text);
	if (trace->length == 0)
		die("%s: holds no hit (--whole allows a trace without a handshake)",
		    path);
}

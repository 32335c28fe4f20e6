// SPDX-License-Identifier: Apache-2.0

/* Fires every kind of probe and every edge case once; see README.md. */

#define _GNU_SOURCE
#include "kinds.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "publisher.h"

static const char help[] =
"Usage: kinds [OPTIONS]\n"
"Fires each probe kind, argument form and oddity once, and prints as JSON what it\n"
"fired.\n"
"\n"
"  --counts FILE     count hits and values in FILE\n"
"  --wait            start when a byte arrives on standard input\n"
"  --wait-file FILE  start when FILE exists\n";

static const char *const probe_names[] = {
	[PROBE_NEW_CONTEXT] = "new_context",
	[PROBE_WORD_DATA] = "word_data",
	[PROBE_STRING_DATA] = "string_data",
	[PROBE_BLOB_DATA] = "blob_data",
	[PROBE_DATA] = "data",
	[PROBE_NEW_CONTEXT_WITH_DATA] = "new_context_with_data",
};

/* The current hit, and the list of hits so far. The list is built in memory and
 * printed at the end, because standard output is also used for the gate's "ready". */
static struct {
	FILE *json;
	struct counts_slot *slot;
	enum probe probe;
	uint64_t values;
	bool first, first_value;
} fired;

static void print_bytes(const char *name, const void *bytes, size_t length)
{
	const unsigned char *byte = bytes;

	fprintf(fired.json, ", \"%s\": \"", name);
	for (size_t i = 0; i < length; i++)
		fprintf(fired.json, "%02x", byte[i]);
	fputc('"', fired.json);
}

void fired_begin(const char *name, enum probe probe, uintptr_t context,
		 uintptr_t parent, unsigned long count)
{
	fprintf(fired.json, "%s\n{\"case\": \"%s\", \"probe\": \"%s\", "
		"\"context\": %" PRIuPTR, fired.first ? "" : ",", name,
		probe_names[probe], context);
	if (probe == PROBE_NEW_CONTEXT || probe == PROBE_NEW_CONTEXT_WITH_DATA)
		fprintf(fired.json, ", \"parent\": %" PRIuPTR, parent);
	if (probe == PROBE_DATA || probe == PROBE_NEW_CONTEXT_WITH_DATA)
		fprintf(fired.json, ", \"count\": %lu", count);
	fprintf(fired.json, ", \"values\": [");
	fired.first = false;
	fired.first_value = true;
	fired.probe = probe;
	fired.values = count < CRAU_MAX_ITEMS ? count : CRAU_MAX_ITEMS;
	counts_begin(fired.slot, probe, fired.values);
}

void fired_end(void)
{
	counts_end(fired.slot, fired.probe, fired.values);
	fprintf(fired.json, "]}");
}

static void print_reach(const char *name, enum reach reach, const void *bytes,
			size_t length)
{
	if (reach == READABLE)
		print_bytes(name, bytes, length);
	else
		fprintf(fired.json, ", \"%s\": %s", name,
			reach == NULL_POINTER ? "null" : "false");
}

void fired_item(const struct crau_item *item, enum reach key, enum reach value,
		unsigned long readable)
{
	const char *kind = item->size == CRAU_SIZE_WORD ? "word" :
		item->size == CRAU_SIZE_STRING ? "string" : "blob";

	fprintf(fired.json, "%s{\"kind\": \"%s\"", fired.first_value ? "" : ", ", kind);
	fired.first_value = false;
	print_reach("key", key, item->key, key == READABLE ? strlen(item->key) : 0);
	if (item->size == CRAU_SIZE_WORD)
		fprintf(fired.json, ", \"word\": %" PRIdPTR, (intptr_t)item->value);
	else
		print_reach("bytes", value, item->value, readable);
	if (*kind == 'b')
		fprintf(fired.json, ", \"size\": %lu", item->size);
	fputc('}', fired.json);
}

void fired_items(const struct crau_item *items, unsigned long count)
{
	for (unsigned long i = 0; i < count; i++) {
		const struct crau_item *item = &items[i];
		enum reach key = item->key == NULL ? NULL_POINTER : READABLE;
		enum reach value = item->value == NULL ? NULL_POINTER : READABLE;
		unsigned long length = item->size;

		if (item->size == CRAU_SIZE_STRING && item->value != NULL)
			length = strlen(item->value);
		fired_item(item, key, value, length);
	}
}

static void data_case(const char *name, uintptr_t context,
		      const struct crau_item *items, unsigned long count)
{
	fired_begin(name, PROBE_DATA, context, CRAU_NO_PARENT, count);
	fired_items(items, count);
	crau_fire_data(context, items, count);
	fired_end();
}

/* One item whose key or value is not completely readable. */
static void item_case(const char *name, uintptr_t context,
		      const struct crau_item *item, enum reach key,
		      enum reach value, unsigned long readable)
{
	fired_begin(name, PROBE_DATA, context, CRAU_NO_PARENT, 1);
	fired_item(item, key, value, readable);
	crau_fire_data(context, item, 1);
	fired_end();
}

static void scalar_case(const char *name, enum probe probe, uintptr_t context,
			const struct crau_item *item)
{
	fired_begin(name, probe, context, CRAU_NO_PARENT, 1);
	fired_items(item, 1);
	switch (probe) {
	case PROBE_WORD_DATA:
		crau_fire_word_data(context, item->key, (uintptr_t)item->value);
		break;
	case PROBE_STRING_DATA:
		crau_fire_string_data(context, item->key, item->value);
		break;
	default:
		crau_fire_blob_data(context, item->key, item->value, item->size);
		break;
	}
	fired_end();
}

static void context_case(const char *name, uintptr_t context, uintptr_t parent)
{
	fired_begin(name, PROBE_NEW_CONTEXT, context, parent, 0);
	crau_fire_new_context(context, parent);
	fired_end();
}

/* An array that a tracer cannot read completely, or cannot read at all. */
static void array_case(const char *name, uintptr_t context,
		       const struct crau_item *items, unsigned long count,
		       unsigned long readable)
{
	fired_begin(name, PROBE_DATA, context, CRAU_NO_PARENT, count);
	fired_items(items, readable);
	crau_fire_data(context, items, count);
	fired_end();
}

static void kind_cases(void)
{
	const struct crau_item word = CRAU_WORD("kind::word", 771);
	const struct crau_item string = CRAU_STRING("kind::string", "a string");
	const struct crau_item blob = CRAU_BLOB("kind::blob", "\x00\x01\x02\xfe", 4);
	const struct crau_item mixed[] = {
		CRAU_STRING("name", "kind::mixed"),
		CRAU_WORD("kind::word", 23),
		CRAU_BLOB("kind::blob", "abc", 3),
	};

	context_case("a context", 0x100, CRAU_NO_PARENT);
	context_case("a nested context", 0x101, 0x100);
	scalar_case("a word", PROBE_WORD_DATA, 0x101, &word);
	scalar_case("a string", PROBE_STRING_DATA, 0x101, &string);
	scalar_case("a blob", PROBE_BLOB_DATA, 0x101, &blob);
	data_case("an array", 0x101, mixed, 3);
	fired_begin("a context with an array", PROBE_NEW_CONTEXT_WITH_DATA, 0x102,
		    0x101, 3);
	fired_items(mixed, 3);
	crau_fire_new_context_with_data(0x102, 0x101, mixed, 3);
	fired_end();
	fired_begin("a context that is its own parent",
		    PROBE_NEW_CONTEXT_WITH_DATA, 0x103, 0x103, 3);
	fired_items(mixed, 3);
	crau_fire_new_context_with_data(0x103, 0x103, mixed, 3);
	fired_end();
}

static void count_cases(void)
{
	static const char *const keys[] = {
		"count::a", "count::b", "count::c", "count::d", "count::e",
		"count::f", "count::g", "count::h", "count::i", "count::j",
		"count::k", "count::l", "count::m", "count::n", "count::o",
		"count::p", "count::q",
	};
	struct crau_item items[17];

	for (int i = 0; i < 17; i++) {
		const struct crau_item word = CRAU_WORD(keys[i], 1000 + i);
		const struct crau_item string = CRAU_STRING(keys[i], keys[i] + 7);

		items[i] = i % 2 == 0 ? word : string;
	}
	data_case("one element", 0x200, items, 1);
	data_case("fifteen elements", 0x201, items, 15);
	data_case("sixteen elements", 0x202, items, 16);
	data_case("seventeen elements", 0x203, items, 17);
	data_case("no element", 0x204, items, 0);
	array_case("no element, and no array", 0x205, NULL, 0, 0);
	array_case("more elements than a word can hold bytes of", 0x206, items,
		   0x0aaaaaaaaaaaaaabUL, 16);
	array_case("minus one element", 0x207, items, -1UL, 16);
	fired_begin("a context with sixteen elements", PROBE_NEW_CONTEXT_WITH_DATA,
		    0x208, CRAU_NO_PARENT, 16);
	fired_items(items, 16);
	crau_fire_new_context_with_data(0x208, CRAU_NO_PARENT, items, 16);
	fired_end();
	fired_begin("a context with seventeen elements",
		    PROBE_NEW_CONTEXT_WITH_DATA, 0x209, CRAU_NO_PARENT, 17);
	fired_items(items, 17);
	crau_fire_new_context_with_data(0x209, CRAU_NO_PARENT, items, 17);
	fired_end();
	fired_begin("a context with no element", PROBE_NEW_CONTEXT_WITH_DATA,
		    0x20a, CRAU_NO_PARENT, 0);
	crau_fire_new_context_with_data(0x20a, CRAU_NO_PARENT, items, 0);
	fired_end();
}

static void word_cases(void)
{
	const struct crau_item items[] = {
		CRAU_WORD("word::zero", 0),
		CRAU_WORD("word::minus_one", -1),
		CRAU_WORD("word::least", INT64_MIN),
		CRAU_WORD("word::most", INT64_MAX),
		CRAU_WORD("word::address", 0xffffffff81000000),
	};

	data_case("extreme words", 0x300, items, 5);
	context_case("context 0", 0, CRAU_NO_PARENT);
	data_case("data of context 0", 0, items, 1);
	context_case("context -1", (uintptr_t)-1, CRAU_NO_PARENT);
	data_case("data of context -1", (uintptr_t)-1, items, 1);
	context_case("parent 0", 0x301, 0);
	context_case("a parent nobody opened", 0x302, 0xdeadbeef);
}

static void text_cases(char *long_text)
{
	const struct crau_item items[] = {
		CRAU_STRING("text::empty", ""),
		CRAU_STRING("text::null", NULL),
		CRAU_STRING("text::no_utf8", "\xff\xfe caf\xe9"),
		CRAU_STRING("text::half_a_rune", "abc\xe2\x82"),
		CRAU_STRING("text::surrogate", "\xed\xa0\x80"),
		CRAU_STRING("text::utf8", "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x92"),
		CRAU_STRING("text::controls", "a\nb\tc\x1b[31m\"\\\x7f"),
		CRAU_BLOB("text::empty_blob", "", 0),
		CRAU_BLOB("text::null_blob", NULL, 0),
	};
	const struct crau_item null_key = CRAU_WORD(NULL, 5);
	const struct crau_item empty_key = CRAU_WORD("", 6);
	const struct crau_item odd_key = CRAU_WORD("no key \xff::at all", 7);
	const struct crau_item null_scalar = CRAU_STRING("text::null", NULL);
	const struct crau_item both_null = CRAU_STRING(NULL, NULL);
	const struct crau_item empty_blob = CRAU_BLOB("text::empty_blob", "", 0);

	data_case("strings and blobs", 0x400, items, 9);
	data_case("no key", 0x401, &null_key, 1);
	data_case("an empty key", 0x402, &empty_key, 1);
	data_case("a key against the grammar", 0x403, &odd_key, 1);
	scalar_case("a NULL string", PROBE_STRING_DATA, 0x404, &null_scalar);
	scalar_case("a NULL string under a NULL key", PROBE_STRING_DATA, 0x405,
		    &both_null);
	scalar_case("an empty blob", PROBE_BLOB_DATA, 0x406, &empty_blob);

	static const unsigned long lengths[] = { 31, 32, 63, 64, 127, 128, 255,
						 256, 511, 512, 1023, 1024, 5000 };
	for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
		const struct crau_item long_blob =
			CRAU_BLOB("text::long_blob", long_text, lengths[i]);
		const struct crau_item long_string =
			CRAU_STRING("text::long_string", long_text);
		char saved = long_text[lengths[i]];

		long_text[lengths[i]] = '\0';
		data_case("a long string", 0x407, &long_string, 1);
		data_case("a long blob", 0x408, &long_blob, 1);
		scalar_case("a long string alone", PROBE_STRING_DATA, 0x407,
			    &long_string);
		scalar_case("a long blob alone", PROBE_BLOB_DATA, 0x408,
			    &long_blob);
		long_text[lengths[i]] = saved;
	}
	long_text[300] = '\0';
	const struct crau_item long_key = CRAU_WORD(long_text, 8);
	data_case("a long key", 0x409, &long_key, 1);
	struct crau_item sixteen[16];
	for (int i = 0; i < 16; i++) {
		const struct crau_item item = CRAU_STRING("text::sixteenth", long_text);
		sixteen[i] = item;
	}
	data_case("sixteen long strings", 0x40a, sixteen, 16);
}

/* readable is a page that is followed by an unmapped one. */
static void memory_cases(char *readable, size_t page)
{
	char *missing = readable + page;
	const void *const bad[] = {
		(void *)1,                    /* not NULL, but never mapped */
		missing,
		(void *)0x00007ffffffff000,   /* the last page of user space */
		(void *)0x0000800000000000,   /* not canonical */
		(void *)0x8000000000000000,
		(void *)0xffff888000000000,   /* kernel addresses */
		(void *)0xffffffff81000000,
		(void *)0xfffffffffffffff8,   /* wraps around after 8 bytes */
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		const struct crau_item key = CRAU_WORD((const char *)bad[i], 9);
		const struct crau_item string = CRAU_STRING("memory::string", bad[i]);
		const struct crau_item blob = CRAU_BLOB("memory::blob", bad[i], 8);
		const struct crau_item huge =
			CRAU_BLOB("memory::huge", bad[i], (unsigned long)1 << 62);

		item_case("a bad key", 0x500, &key, UNREADABLE, READABLE, 0);
		item_case("a bad string", 0x501, &string, READABLE, UNREADABLE, 0);
		item_case("a bad blob", 0x502, &blob, READABLE, UNREADABLE, 0);
		item_case("a bad huge blob", 0x503, &huge, READABLE, UNREADABLE, 0);
		array_case("a bad array", 0x504, bad[i], 2, 0);
		fired_begin("a context with a bad array",
			    PROBE_NEW_CONTEXT_WITH_DATA, 0x505, CRAU_NO_PARENT, 2);
		crau_fire_new_context_with_data(0x505, CRAU_NO_PARENT, bad[i], 2);
		fired_end();
		fired_begin("a bad string alone", PROBE_STRING_DATA, 0x506,
			    CRAU_NO_PARENT, 1);
		fired_item(&string, READABLE, UNREADABLE, 0);
		crau_fire_string_data(0x506, string.key, string.value);
		fired_end();
		fired_begin("a bad blob alone", PROBE_BLOB_DATA, 0x507,
			    CRAU_NO_PARENT, 1);
		fired_item(&blob, READABLE, UNREADABLE, 0);
		crau_fire_blob_data(0x507, blob.key, blob.value, blob.size);
		fired_end();
		fired_begin("a word under a bad key alone", PROBE_WORD_DATA, 0x508,
			    CRAU_NO_PARENT, 1);
		fired_item(&key, UNREADABLE, READABLE, 0);
		crau_fire_word_data(0x508, key.key, (uintptr_t)key.value);
		fired_end();
	}

	/* Memory up to the end of the page, and one byte more. */
	memset(missing - 8, 'e', 8);
	missing[-1] = '\0';
	const struct crau_item last = CRAU_STRING("memory::last", missing - 8);
	item_case("a string that ends with its page", 0x509, &last, READABLE,
		  READABLE, 7);
	const struct crau_item last_blob = CRAU_BLOB("memory::last", missing - 8, 8);
	item_case("a blob that ends with its page", 0x50a, &last_blob, READABLE,
		  READABLE, 8);
	const struct crau_item last_key = CRAU_WORD(missing - 8, 10);
	item_case("a key that ends with its page", 0x50b, &last_key, READABLE,
		  READABLE, 0);
	missing[-1] = 'e';
	item_case("a string without an end on its page", 0x50c, &last, READABLE,
		  UNREADABLE, 0);
	const struct crau_item over = CRAU_BLOB("memory::over", missing - 8, 9);
	item_case("a blob beyond its page", 0x50d, &over, READABLE, UNREADABLE, 0);

	struct crau_item *items = (struct crau_item *)missing - 2;
	const struct crau_item first = CRAU_WORD("memory::first", 11);
	const struct crau_item second = CRAU_WORD("memory::second", 12);
	items[0] = first;
	items[1] = second;
	data_case("an array that ends with its page", 0x50e, items, 2);
	array_case("an array beyond its page", 0x50f, items, 3, 2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { COMMON_OPTIONS };
	struct common common = { 0 };

	while (next_option(argc, argv, options, help, &common) != -1)
		;
	if (optind != argc)
		usage_error("unexpected argument %s", argv[optind]);

	/* Two pages, so that a long text fits before the unmapped ones. */
	size_t page = 2 * (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || munmap(memory + page, page) < 0)
		die("cannot map memory");
	for (size_t i = 0; i < page; i++)
		memory[i] = (char)('a' + i % 26);

	char *json = NULL;
	size_t length = 0;
	counts_open(common.counts);
	fired.slot = counts_slot();
	fired.first = true;
	fired.json = open_memstream(&json, &length);
	if (fired.json == NULL)
		die("cannot allocate memory for the list");
	gate_pass(&common.gate);
	counts_state(STATE_FIRING);
	kind_cases();
	count_cases();
	word_cases();
	text_cases(memory);
	memory_cases(memory, page);
	plain_cases_optimised(0x600);
	plain_cases_unoptimised(0x700);
	form_cases(0x800);
	counts_state(STATE_DONE);
	fclose(fired.json);
	printf("[%s\n]\n", json);
	free(json);
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A recorded handshake, ready to be fired. The recording is text, one line per
 * value a probe carried (or per hit without values):
 *
 *   TIME COMM PID/TID LIBRARY ip=HEX PROBE ctx=HEX [parent=HEX] [[I/N] KEY = VALUE]
 *
 * VALUE is "text", or "word N (HEX)". An empty text is what a NULL pointer
 * leaves in a recording, and is fired as one.
 */

#ifndef TRACE_H
#define TRACE_H

#include <stdbool.h>
#include <stddef.h>

#include "crau/macros.h"
#include "counts.h"

/* The parent index of a hit without one. */
#define TRACE_NO_PARENT (-1)

struct hit {
	enum probe probe;
	int context; /* index into trace.contexts */
	int parent;  /* likewise, or TRACE_NO_PARENT */
	unsigned long count;
	struct crau_item *items;
};

struct trace {
	struct hit *hits;
	size_t length;
	uintptr_t *contexts; /* as recorded, in the order of appearance */
	size_t contexts_length;
	size_t values; /* over all hits */
};

/* trace_read ends the program, naming file and line, if it cannot. Unless whole
 * is set, it leaves out what precedes the first tls::handshake: the checks of a
 * key pair, in the recordings of GnuTLS. */
void trace_read(struct trace *trace, const char *path, bool whole);

#endif

/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A recorded handshake, ready to be fired. The recording is text, with one line
 * per value of a hit, or per hit without values:
 *
 *   TIME COMM PID/TID LIBRARY ip=HEX PROBE ctx=HEX [parent=HEX] [[I/N] KEY = VALUE]
 *
 * VALUE is "text", or "word N (HEX)". NULL pointers were recorded as an empty
 * text, which is therefore fired as a NULL pointer.
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

/* trace_read reads a trace. A failure ends the program and names file and line.
 * Unless whole is set, it skips everything before the first tls::handshake: in
 * the recordings of GnuTLS, the checks of a key pair. */
void trace_read(struct trace *trace, const char *path, bool whole);

#endif

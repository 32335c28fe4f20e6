// SPDX-License-Identifier: Apache-2.0

/* A library that reports a client's TLS handshake, with the version that its caller passes. */

#include "crau/macros.h"

__attribute__((visibility("default")))
void claim_handshake(unsigned long context, unsigned long version)
{
	crau_fire_new_context(context, CRAU_NO_PARENT);
	crau_fire_string_data(context, "name", "tls::handshake_client");
	crau_fire_word_data(context, "tls::protocol_version", version);
}

#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# handshakes.sh: prints a table of the newest 20 TLS handshakes (busctl, jq).

busctl --json=short call org.crypto_auditing.Broker /org/crypto_auditing/Broker \
    org.crypto_auditing.Broker ReadOperations 'sa{sv}ua{sv}' newest \
    1 contexts as 1 tls::handshake 20 1 reverse b true |
    jq --raw-output '.data[0][] | map_values(.data) | [
        (.start / 1e6 | floor | strflocaltime("%H:%M:%S")), .executable // "-",
        (.summary | .role // "-", .protocol_version // "-", .ciphersuite // "-", .group // "-")
    ] | @tsv'

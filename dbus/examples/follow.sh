#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# follow.sh [CURSOR]: prints groups of TLS as they are recorded, one JSON value a
# line (busctl, gdbus, jq). The signal Appended only reports that the log has grown; Read
# returns the new groups. A cursor remains valid across restarts.

read_after() {
    busctl --json=short call org.crypto_auditing.Broker /org/crypto_auditing/Broker \
        org.crypto_auditing.Broker Read 'sa{sv}u' "$1" 1 contexts as 1 'tls::*' 1000
}

cursor=${1:-newest}
gdbus monitor --system --dest org.crypto_auditing.Broker --object-path /org/crypto_auditing/Broker |
    while true; do
        if ! page=$(read_after "$cursor" 2>/dev/null); then
            sleep 1 # the broker is being restarted
            continue
        fi
        jq --compact-output '.data[0][]' <<<"$page"
        before=$cursor
        cursor=$(jq --raw-output '.data[1]' <<<"$page")
        if [ "$cursor" = "$before" ]; then
            # No new groups. The broker exits while idle, and then sends no signal.
            read -r -t 10 || true
        fi
    done

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Records real handshakes and shows them: a TLS 1.3 and a TLS 1.2 handshake of a
# program on this machine's OpenSSL, and a recorded GnuTLS handshake that is
# replayed through real probes. The log is left for you to look at.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}

# Root may lack the capabilities in a container: the agent would say so, too.
can_trace() {
	caps=$(sed -n 's/^CapEff:\t*//p' /proc/self/status)
	# CAP_PERFMON is 38, CAP_BPF 39 (capabilities(7)).
	[ $((0x$caps >> 38 & 3)) -eq 3 ]
}
if ! can_trace; then
	echo "demo: recording needs root, or the capabilities CAP_BPF and CAP_PERFMON: try 'sudo make demo'." >&2
	exit 1
fi

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || title() { printf '\n== %s\n' "$*"; }

make -s -C tests/publishers OUT="$PWD/$build/publishers"
demo=$(mktemp -d "${TMPDIR:-/tmp}/crypto-auditing-demo.XXXXXX")
publishers=$build/publishers
agent=
stop() {
	if [ -n "$agent" ]; then
		kill -TERM "$agent" 2>/dev/null || :
		wait "$agent" || { cat "$demo/agent.log"; exit 1; }
		agent=
	fi
}
trap stop EXIT

title "An agent on $demo/log"
"$build/crau-agent" --config /dev/null --log-dir "$demo/log" \
	--library "$publishers/handshake" --library "$publishers/replay" 2>"$demo/agent.log" &
agent=$!
waited=0
until grep -q msg=recording "$demo/agent.log"; do
	kill -0 "$agent" 2>/dev/null && [ $waited -lt 100 ] || { cat "$demo/agent.log"; exit 1; }
	waited=$((waited + 1))
	sleep 0.1
done
sed -n 's/.*msg=\(attached\) /\1 /p' "$demo/agent.log"

title "Handshakes"
publish() {
	printf '%s: ' "$1"
	shift
	"$@" | tee -a "$demo/published"
}
publish "TLS 1.3 through OpenSSL, a client and a server" "$publishers/handshake" --tls 1.3
publish "TLS 1.2 through OpenSSL, a client and a server" "$publishers/handshake" --tls 1.2
publish "GnuTLS, recorded, replayed through real probes" "$publishers/replay" --count 1 \
	tests/data/probe-traces/gnutls-tls13-p256.txt
stop

title "crauctl query --directory $demo/log"
"$build/crauctl" query --no-pager --directory "$demo/log"

title "Counters"
recorded=$(sed -n 's/.*recorded_hits=\([0-9]*\).*/\1/p' "$demo/agent.log")
lost=$(sed -n 's/.*lost_hits=\([0-9]*\).*/\1/p' "$demo/agent.log" | awk '{n += $1} END {print n + 0}')
fired=$(awk '{n += $2} END {print n + 0}' "$demo/published")
sed -n 's/.*msg=lost /lost: /p' "$demo/agent.log"
[ "$lost" -ne 0 ] || echo "lost: nothing"
echo "log: $(cat "$demo"/log/*.zst | wc -c) bytes in $(find "$demo/log" -name '*.zst' | wc -l) segment, $(cat "$demo"/log/*.zst | zstd -dc | wc -c) bytes of CBOR"
echo "     zstdcat $demo/log/*.zst is a log of the public crypto-auditing project"
echo "recorded $recorded of $fired probe hits"
if [ "$recorded" -ne "$fired" ]; then
	echo "demo: the agent did not record what was fired" >&2
	exit 1
fi

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Records real handshakes and shows them over a bus: live, to a subscriber; later,
# to one who catches up; and what is left when the log is truncated. The
# handshakes are a TLS 1.3 and a TLS 1.2 one of a program on this machine's
# OpenSSL, and a recorded GnuTLS one that is replayed through real probes. The bus
# is a private one, so that nothing is installed and no service disturbed.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}

# Root may lack the capabilities in a container: the agent would say so, too.
can_trace() {
	caps=$(sed -n 's/^CapEff:\t*//p' /proc/self/status)
	# CAP_PERFMON is 38, CAP_BPF 39 (capabilities(7)).
	[ $((0x$caps >> 38 & 3)) -eq 3 ]
}
if [ "$(id -u)" -ne 0 ] || ! can_trace; then
	echo "demo: recording needs root with the capabilities CAP_BPF and CAP_PERFMON: try 'sudo make demo'." >&2
	exit 1
fi

title() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || title() { printf '\n== %s\n' "$*"; }

make -s -C tests/publishers OUT="$PWD/$build/publishers"
demo=$(mktemp -d "${TMPDIR:-/tmp}/crypto-auditing-demo.XXXXXX")
publishers=$build/publishers
agent='' broker='' monitor='' bus=''

fail() {
	echo "demo: $*" >&2
	cat "$demo"/*.log >&2
	exit 1
}
# stop NAME PID: ends what was started and says whether it ended well.
stop() {
	[ -n "$2" ] || return 0
	kill -TERM "$2" 2>/dev/null || :
	wait "$2" || fail "the $1 ended badly"
}
clean_up() {
	for pid in $monitor $broker $agent $bus; do
		kill -TERM "$pid" 2>/dev/null || :
	done
}
trap clean_up EXIT
# until_true COMMAND: waits for it, two minutes at most.
until_true() {
	waited=0
	until eval "$1"; do
		[ $waited -lt 1200 ] || fail "waited in vain for: $1"
		waited=$((waited + 1))
		sleep 0.1
	done
}

title "A private bus, an agent, a broker"
sed "s,@SOCKET@,$demo/bus,; s,@SERVICES@,$demo,; s,@POLICY@,$PWD/dbus/org.crypto_auditing.Broker.conf," \
	tests/data/bus.conf.in >"$demo/bus.conf"
dbus-daemon --config-file="$demo/bus.conf" --nofork --nopidfile --nosyslog 2>"$demo/bus.log" &
bus=$!
until_true '[ -S "$demo/bus" ]'
export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$demo/bus"

# What other programs of this machine do is not part of it.
echo 'sources = ["usdt"]' >"$demo/agent.conf"
"$build/crau-agent" --config "$demo/agent.conf" --log-dir "$demo/log" --varlink "$demo/agent" \
	--library "$publishers/handshake" --library "$publishers/replay" 2>"$demo/agent.log" &
agent=$!
until_true 'grep -q msg=recording "$demo/agent.log" || ! kill -0 $agent'
sed -n 's/.*msg=attached library=\([^ ]*\) sites=\([0-9]*\) .*/crau-agent listens to \2 probe sites of \1/p' "$demo/agent.log"
"$build/crau-broker" --config /dev/null --log-dir "$demo/log" --state-dir "$demo/state" \
	--agent-socket "$demo/agent" 2>"$demo/broker.log" &
broker=$!
call() { busctl call org.crypto_auditing.Broker /org/crypto_auditing/Broker org.crypto_auditing.Broker "$@"; }
until_true 'call GetStatus >/dev/null 2>&1'
call GetStatus | grep -o '"version" s "[^"]*"' | head -n 1 | sed 's/"version" s "\(.*\)"/crau-broker \1 is org.crypto_auditing.Broker on that bus/'

title "As it happens: crauctl monitor"
mkfifo "$demo/live"
"$build/crauctl" monitor >"$demo/live" &
monitor=$!
tee "$demo/shown" <"$demo/live" &
until_true 'call GetStatus | grep -q "\"streams\" u 1"'
publish() {
	printf '%s: ' "$1" >>"$demo/published"
	shift
	"$@" >>"$demo/published"
}
publish "TLS 1.3 through OpenSSL, a client and a server" "$publishers/handshake" --tls 1.3
publish "TLS 1.2 through OpenSSL, a client and a server" "$publishers/handshake" --tls 1.2
publish "GnuTLS, recorded, replayed through real probes" "$publishers/replay" --count 1 \
	tests/data/probe-traces/gnutls-tls13-p256.txt
# An operation is shown when it has been quiet for two seconds.
until_true '[ "$(grep -c " tls::handshake " "$demo/shown")" -ge 8 ]'
kill -INT $monitor
wait $monitor || fail "the monitor ended badly"
monitor=

title "What has happened: crauctl query -o cat"
cursor=$("$build/crauctl" flush --socket "$demo/agent")
"$build/crauctl" query -o cat
publish "TLS 1.3 through OpenSSL, while nobody looks" "$publishers/handshake" --tls 1.3
"$build/crauctl" flush --socket "$demo/agent" >/dev/null
title "What is new: crauctl query -o cat --after-cursor $cursor"
"$build/crauctl" query -o cat --after-cursor "$cursor"

title "The log is kept small: crauctl vacuum --vacuum-size=1K --keep-free=0"
"$build/crauctl" rotate --socket "$demo/agent" >/dev/null
publish "TLS 1.2 through OpenSSL, in a new segment" "$publishers/handshake" --tls 1.2
"$build/crauctl" flush --socket "$demo/agent" >/dev/null
before=$(cat "$demo"/log/*.zst | zstd -dc | wc -c)
"$build/crauctl" vacuum --vacuum-size=1K --keep-free=0
echo 'What the reader of before gets, who has missed something:'
"$build/crauctl" query -o cat --after-cursor "$cursor"

title "Fired and recorded"
stop broker "$broker" && broker=
stop agent "$agent" && agent=
sed 's/\(.*\): hits \([0-9]*\) values \([0-9]*\)$/\2 probe hits, \3 values: \1/' "$demo/published"
recorded=$(sed -n 's/.*recorded_hits=\([0-9]*\).*/\1/p' "$demo/agent.log")
lost=$(sed -n 's/.*lost_hits=\([0-9]*\).*/\1/p' "$demo/agent.log" | awk '{n += $1} END {print n + 0}')
fired=$(sed -n 's/.*: hits \([0-9]*\) .*/\1/p' "$demo/published" | awk '{n += $1} END {print n + 0}')
sed -n 's/.*msg=lost /lost: /p' "$demo/agent.log"
[ "$lost" -ne 0 ] || lost=nothing
echo "recorded $recorded of $fired probe hits, lost $lost"
[ "$recorded" -eq "$fired" ] || fail "the agent did not record what was fired"
echo "The log, $before bytes of CBOR before it was truncated, is left for you to look at, by 'zstdcat' as a log of the public"
echo "crypto-auditing project, or by 'crauctl query --directory': $demo/log"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Records real handshakes and shows them over a bus:
# - of unmodified programs, seen at their sockets: OpenSSL's client and server, a program
#   in Go, ssh and sshd; and which of them are post-quantum;
# - of libraries with probes, which report more: live, after a cursor, and after the log
#   was truncated. The handshakes are a TLS 1.3 and a TLS 1.2 one of a program on this
#   machine's OpenSSL, and a recorded one of GnuTLS, replayed through real probes;
# - in the inventory's report, which survives the truncation, and in a check against a
#   stricter policy.
# The bus is private: nothing is installed, and no service is disturbed.
set -eu
cd "$(dirname "$0")/.."
build=${BUILD:-build}

# In a container, root may lack the capabilities. The agent would report that, too.
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
agent='' broker='' inventory='' monitor='' bus='' server=''

fail() {
	echo "demo: $*" >&2
	cat "$demo"/*.log >&2
	exit 1
}
# stop NAME PID: stops a program, and fails if it did not exit with success.
stop() {
	[ -n "$2" ] || return 0
	kill -TERM "$2" 2>/dev/null || :
	wait "$2" || fail "the $1 failed"
}
clean_up() {
	for pid in $monitor $server $inventory $broker $agent $bus; do
		kill -TERM "$pid" 2>/dev/null || :
	done
}
trap clean_up EXIT
# until_true COMMAND: waits until it succeeds, at most two minutes.
until_true() {
	waited=0
	until eval "$1"; do
		[ $waited -lt 1200 ] || fail "timeout while waiting for: $1"
		waited=$((waited + 1))
		sleep 0.1
	done
}

title "A private bus, an agent, a broker"
sed "s,@SOCKET@,$demo/bus,; s,@SERVICES@,$demo,; s,@POLICIES@,$PWD/dbus," \
	tests/data/bus.conf.in >"$demo/bus.conf"
dbus-daemon --config-file="$demo/bus.conf" --nofork --nopidfile --nosyslog 2>"$demo/bus.log" &
bus=$!
until_true '[ -S "$demo/bus" ]'
export DBUS_SYSTEM_BUS_ADDRESS="unix:path=$demo/bus"

# Other programs of this machine are not shown. With keep_free, the agent would remove
# parts of the log that the demo still needs if the disk is nearly full.
printf 'sources = ["usdt", "wire"]\nkeep_free = 0\n' >"$demo/agent.conf"
"$build/crau-agent" --config "$demo/agent.conf" --log-dir "$demo/log" --varlink "$demo/agent" \
	--library "$publishers/handshake" --library "$publishers/replay" 2>"$demo/agent.log" &
agent=$!
until_true 'grep -q msg=recording "$demo/agent.log" || ! kill -0 $agent'
sed -n 's/.*msg=attached library=\([^ ]*\) sites=\([0-9]*\) .*/crau-agent records \2 probe sites of \1/p' "$demo/agent.log"
"$build/crau-broker" --config /dev/null --log-dir "$demo/log" --state-dir "$demo/state" \
	--agent-socket "$demo/agent" 2>"$demo/broker.log" &
broker=$!
call() { busctl call org.crypto_auditing.Broker /org/crypto_auditing/Broker org.crypto_auditing.Broker "$@"; }
until_true 'call GetStatus >/dev/null 2>&1'
call GetStatus | grep -o '"version" s "[^"]*"' | head -n 1 | sed 's/"version" s "\(.*\)"/crau-broker \1 is org.crypto_auditing.Broker on that bus/'

title "Unmodified programs, seen at their sockets: OpenSSL, a program in Go, ssh"
free_port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
listening() { python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])))' "$1" 2>/dev/null; }
end_server() {
	kill "$server" && wait "$server" || :
	server=
}
port=$(free_port)
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=demo \
	-keyout "$demo/key.pem" -out "$demo/certificate.pem" 2>"$demo/openssl.log"
openssl s_server -accept "127.0.0.1:$port" -key "$demo/key.pem" -cert "$demo/certificate.pem" -quiet >"$demo/server.log" 2>&1 &
server=$!
until_true 'listening $port || ! kill -0 $server'
for version in -tls1_3 -tls1_2; do
	openssl s_client -connect "127.0.0.1:$port" $version </dev/null >"$demo/client.log" 2>&1 || fail "openssl: $(cat "$demo/client.log")"
	echo "openssl reports: $(grep -m 1 -o 'New, .*' "$demo/client.log")"
done
end_server

go build -o "$demo/a-go-program" ./tests/demo
echo "a-go-program reports: $("$demo/a-go-program")"

port=$(free_port)
[ -d /run/sshd ] || mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f "$demo/host"
printf 'Port %s\nListenAddress 127.0.0.1\nHostKey %s\nPidFile none\nStrictModes no\n' "$port" "$demo/host" >"$demo/sshd.conf"
/usr/sbin/sshd -D -e -f "$demo/sshd.conf" 2>"$demo/sshd.log" &
server=$!
until_true 'listening $port || ! kill -0 $server'
# Keys are exchanged before the login, which fails.
ssh -v -F none -p "$port" -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null nobody@127.0.0.1 true 2>"$demo/ssh.log" || :
echo "ssh reports: $(sed -n 's/.*kex: algorithm: //p' "$demo/ssh.log" | head -n 1), $(sed -n 's/.*kex: host key algorithm: //p' "$demo/ssh.log" | head -n 1)"
end_server

seen() { "$build/crauctl" query -q --source wire --executable openssl --executable a-go-program --executable 'ssh*' "$@"; }
flush() { "$build/crauctl" flush --socket "$demo/agent" >/dev/null; }
until_true 'flush; [ "$(seen --count)" -ge 8 ]'
title "Recorded at the sockets: crauctl query --source wire"
seen
# Only the first line of each operation.
title "Post-quantum handshakes: crauctl query tls::group=X25519MLKEM768, and the same for SSH"
seen tls::group=X25519MLKEM768 | grep '^[0-9]'
safe='sntrup761x25519-sha512 sntrup761x25519-sha512@openssh.com mlkem768x25519-sha256'
# shellcheck disable=SC2086 # a list
seen $(printf 'ssh::kex_algorithm=%s ' $safe) | grep '^[0-9]' || :
title "Other handshakes: crauctl query 'tls::group!=X25519MLKEM768', and the same for SSH"
seen -g 'tls::handshake' 'tls::group!=X25519MLKEM768' | grep '^[0-9]' || :
# shellcheck disable=SC2086 # a list
seen -g 'ssh::handshake' $(printf 'ssh::kex_algorithm!=%s ' $safe) | grep '^[0-9]' || :
title "Completeness of the log: crauctl status"
"$build/crauctl" status --socket "$demo/agent" | grep -E -A 1 '^ *(Sources?|Sockets|Coverage|Lost):'

title "A single command, without agent and log: crauctl trace -- a-go-program"
"$build/crauctl" trace --source wire -- "$demo/a-go-program"
title "The same as a table: crauctl trace -c -- a-go-program"
"$build/crauctl" trace -c --source wire -- "$demo/a-go-program"

title "Operations as they complete: crauctl monitor"
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
# An operation is shown after two seconds without events.
until_true '[ "$(grep -c " tls::handshake " "$demo/shown")" -ge 8 ]'
kill -INT $monitor
ended=0
wait $monitor || ended=$?
[ $ended -eq 130 ] || fail "the monitor failed"
monitor=

title "All operations in the log: crauctl query -o cat"
cursor=$("$build/crauctl" flush --socket "$demo/agent")
"$build/crauctl" query -o cat
publish "TLS 1.3 through OpenSSL, without a subscriber" "$publishers/handshake" --tls 1.3
"$build/crauctl" flush --socket "$demo/agent" >/dev/null
title "New operations: crauctl query -o cat --after-cursor $cursor"
"$build/crauctl" query -o cat --after-cursor "$cursor"

title "Truncating the log: crauctl vacuum --vacuum-size=1K --keep-free=0"
"$build/crauctl" rotate --socket "$demo/agent" >/dev/null
publish "TLS 1.2 through OpenSSL, in a new segment" "$publishers/handshake" --tls 1.2
"$build/crauctl" flush --socket "$demo/agent" >/dev/null
# The inventory counts before the log is truncated, and is queried afterwards.
mkdir "$demo/inventory"
"$build/crau-inventory" --config /dev/null --state-dir "$demo/inventory" --idle-timeout 0 2>"$demo/inventory.log" &
inventory=$!
until_true '"$build/crauctl" inventory >/dev/null 2>&1 || ! kill -0 $inventory 2>/dev/null'
kill -0 $inventory || fail "the inventory exited"
before=$(cat "$demo"/log/*.zst | zstd -dc | wc -c)
"$build/crauctl" vacuum --vacuum-size=1K --keep-free=0
echo 'The same query again reports the missing entries:'
"$build/crauctl" query -o cat --after-cursor "$cursor"

programs="--executable openssl --executable a-go-program --executable ssh* --executable handshake --executable replay"
# shellcheck disable=SC2086 # a list of options
"$build/crauctl" report $programs >"$demo/report"
policies=src/internal/inventory/cryptopolicy/testdata
denied=0
# shellcheck disable=SC2086 # a list of options
"$build/crauctl" policy check $programs --policy-dir "$policies" FUTURE >"$demo/policy" || denied=$?
[ $denied -eq 4 ] || fail "crauctl policy check exited with $denied, want 4"

title "Fired and recorded"
stop inventory "$inventory" && inventory=
stop broker "$broker" && broker=
stop agent "$agent" && agent=
sed 's/\(.*\): hits \([0-9]*\) values \([0-9]*\)$/\2 probe hits, \3 values: \1/' "$demo/published"
recorded=$(sed -n 's/.*recorded_hits=\([0-9]*\).*/\1/p' "$demo/agent.log")
lost=$(sed -n 's/.*lost_hits=\([0-9]*\).*/\1/p' "$demo/agent.log" | awk '{n += $1} END {print n + 0}')
fired=$(sed -n 's/.*: hits \([0-9]*\) .*/\1/p' "$demo/published" | awk '{n += $1} END {print n + 0}')
sed -n 's/.*msg=lost /lost: /p' "$demo/agent.log"
[ "$lost" -ne 0 ] || lost=nothing
echo "recorded $recorded of $fired probe hits, lost $lost"
[ "$recorded" -eq "$fired" ] || fail "the agent did not record all probe hits"
echo "The log had $before bytes of CBOR before it was truncated. It remains in $demo/log: read it with 'zstdcat', like a log"
echo "of the public crypto-auditing project, or with 'crauctl query --directory'."

title "The report, from the inventory's counts, which survive the truncation: crauctl report"
sed '/^ANNEX: RULES/,$d' "$demo/report"
title "Programs that would have to negotiate differently under a sample policy: crauctl policy check FUTURE"
cat "$demo/policy"

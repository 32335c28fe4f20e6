#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Fetches the source of OpenSSL from a Debian suite and prepares it in DIR/source, for
# tests that build parts of it with different compilers.
#
#	sources.sh DIR SUITE
#
# Exits with 77 if this machine has no access to Debian's sources.
set -eu
dir=$1 suite=$2
skip() { echo "$*"; exit 77; }

command -v apt-get >/dev/null || skip "this machine has no apt-get"
uri=$(apt-get indextargets --format '$(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
	awk '$1 == "Debian" && $2 == "main" && $3 !~ /-/ { print $4; exit }')
[ -n "$uri" ] || skip "this machine does not use Debian's packages"

if [ ! -e "$dir/complete" ]; then
	rm -rf "$dir/source"
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial" "$dir/packages" "$dir/source"
	dir=$(cd "$dir" && pwd)
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main" >"$dir/sources.list"
	: >"$dir/status"
	apt() {
		apt-get -q -o Dir::Etc::SourceList="$dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
			-o Dir::State="$dir/state" -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" "$@"
	}
	apt -o APT::Update::Error-Mode=any update >"$dir/log" 2>&1 || skip "the suite $suite cannot be reached: $(tail -n 1 "$dir/log")"
	(cd "$dir/packages" && apt source --download-only --only-source openssl) >>"$dir/log" 2>&1 ||
		skip "the suite $suite has no source of openssl: $(tail -n 1 "$dir/log")"
	tar xf "$dir"/packages/*.orig.tar.gz -C "$dir/source" --strip-components=1
	# Debian's options, which affect the layout of structures.
	(cd "$dir/source" && ./Configure linux-x86_64 no-idea no-mdc2 no-rc5 no-zlib no-ssl3 enable-unit-test no-ssl3-method \
		enable-rfc3779 enable-cms no-capieng no-rdrand shared && make -s -k build_generated && make -s -k libssl.map libssl.ld) >>"$dir/log" 2>&1 || :
	[ -e "$dir/source/include/openssl/opensslconf.h" ] || skip "the source cannot be configured: $(tail -n 1 "$dir/log")"
	rm -rf "$dir/state" "$dir/cache" "$dir/packages"
	: >"$dir/complete"
fi

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Checks that every source file names its licence in its first lines, that LICENSES has
# the text, and that every module linked into a program has a licence that the project
# accepts. licences.sh --list prints these modules, one per line:
# MODULE VERSION LICENCES
set -eu
cd "$(dirname "$0")/.."

modules() { (cd tests/tools && go run ./licences ../..); }

if [ "${1:-}" = --list ]; then
	modules
	exit
fi

# A tarball has no git, but a directory of modules.
files() {
	if [ -e .git ]; then
		git ls-files
	else
		find . \( -path ./vendor -o -path ./build \) -prune -o -type f -print | sed 's,^\./,,'
	fi
}

bad=0
modules >/dev/null || bad=1
for file in $(files | grep -E '(\.(go|c|h|sh|py|toml|cddl|spec|rpmlintrc|macros)|(^|/)(Makefile|meson\.build))$' | grep -Ev '_bpfel\.go$|/testdata/'); do
	licence=$(sed -n '1,4s/.*SPDX-License-Identifier: \([A-Za-z0-9.-]*\).*/\1/p' "$file")
	if [ -z "$licence" ]; then
		echo "$file: no SPDX-License-Identifier in its first lines"
		bad=1
	elif [ ! -f "LICENSES/$licence.txt" ]; then
		echo "$file: LICENSES/$licence.txt is missing"
		bad=1
	fi
done
exit $bad

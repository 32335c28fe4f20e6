#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# Every source file says its licence in its first lines, and the text of that
# licence is in LICENSES.
set -eu
cd "$(dirname "$0")/.."

bad=0
for file in $(git ls-files '*.go' '*.c' '*.h' '*.sh' '*.py' '*.toml' '*.cddl' 'Makefile' '*/Makefile' 'meson.build' ':!*_bpfel.go' ':!*/testdata/*'); do
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

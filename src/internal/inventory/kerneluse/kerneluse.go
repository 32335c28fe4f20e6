// SPDX-License-Identifier: Apache-2.0

// Package kerneluse finds cryptography that the kernel of this machine uses itself, and that no source
// captures. It only reads sysfs, so that a confined service can use it.
package kerneluse

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Find returns the uses found in sysfs, a phrase each, in a constant order. The list may be incomplete: a
// kernel does not show all uses of its built-in code.
func Find(sys fs.FS) (uses []string) {
	if n := volumes(sys); n > 0 {
		uses = append(uses, "disk encryption ("+counted(n, "volume")+")")
	}
	// A protocol module is referenced by each of its security associations.
	if references(sys, "esp4")+references(sys, "esp6")+references(sys, "ah4")+references(sys, "ah6") > 0 {
		uses = append(uses, "IPsec")
	}
	// A module is loaded with the first interface; one that is built in has no state.
	if _, err := fs.Stat(sys, "module/wireguard/initstate"); err == nil {
		uses = append(uses, "WireGuard (its module is loaded)")
	}
	if n := references(sys, "tls"); n > 0 {
		uses = append(uses, "kernel TLS ("+counted(n, "socket")+")")
	}
	if n := references(sys, "af_alg"); n > 0 {
		uses = append(uses, "AF_ALG ("+counted(n, "socket")+")")
	}
	return uses
}

// volumes counts the encrypted volumes of the device mapper. cryptsetup names them CRYPT-TYPE-…; verity
// and integrity volumes, and the parts of others, encrypt nothing themselves.
func volumes(sys fs.FS) (n int) {
	// The pattern is valid, and directories that cannot be read have no matches.
	names, _ := fs.Glob(sys, "block/dm-*/dm/uuid")
	for _, name := range names {
		text, err := fs.ReadFile(sys, name)
		if err != nil {
			continue
		}
		kind, ok := strings.CutPrefix(string(text), "CRYPT-")
		kind, _, _ = strings.Cut(kind, "-")
		switch kind {
		case "VERITY", "INTEGRITY", "SUBDEV":
			ok = false
		}
		if ok {
			n++
		}
	}
	return n
}

// references counts the references to a module, except by modules that depend on it; 0 if it is not
// loaded, or built in.
func references(sys fs.FS, module string) int {
	text, err := fs.ReadFile(sys, path.Join("module", module, "refcnt"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	holders, err := fs.ReadDir(sys, path.Join("module", module, "holders"))
	if err != nil {
		return 0
	}
	return max(n-len(holders), 0)
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

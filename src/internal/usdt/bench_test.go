// SPDX-License-Identifier: Apache-2.0

package usdt

import (
	"debug/elf"
	"path/filepath"
	"testing"
)

func BenchmarkOpen(b *testing.B) {
	paths := map[string]string{"fixture": filepath.Join("testdata", "amd64.elf")}
	for name, pattern := range map[string]string{
		"libc": "/usr/lib/*/libc.so.6", "libssl": "/usr/lib/*/libssl.so.3", "libcrypto": "/usr/lib/*/libcrypto.so.3",
		"libstdc++": "/usr/lib/*/libstdc++.so.6",
	} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			paths[name] = found[0]
		}
	}
	for name, path := range paths {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Open(path); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseArgs(b *testing.B) {
	for name, c := range map[string]struct {
		m    elf.Machine
		spec string
	}{
		"amd64": {elf.EM_X86_64, "8@%rax -8@$-1 8@16(%rsp) -4@%edx"},
		"arm64": {elf.EM_AARCH64, "8@x0 -8@-1 8@[sp, 16] -4@w3"},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := ParseArgs(c.m, c.spec); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
